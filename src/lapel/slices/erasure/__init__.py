"""The ledger of deletions, and the deletion of the objects of deleted recordings.

An entry is written before its objects are erased, and closed when none is left.
"""
