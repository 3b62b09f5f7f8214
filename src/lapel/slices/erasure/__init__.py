"""The ledger of deletions, and the deletion of the objects of deleted recordings.

An entry is written before its objects are erased. It is `erased` when no object is left. It is `closed` when
there is still no object after the end of the last upload URL, and no worker has a copy.
"""
