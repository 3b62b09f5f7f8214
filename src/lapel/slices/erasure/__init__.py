"""The ledger of deletions, and the deletion of the objects of deleted recordings.

An entry is written before its objects are erased. It is `erased` when no object is left. It is `closed` when,
after the last upload URL has ended, there is still no object, and no worker has a copy.
"""
