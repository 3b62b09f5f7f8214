"""The ledger of deletions: an entry is written before its objects are erased, closed when none is left."""
