"""The ledger of what was erased: written before anything is, closed when nothing came back."""
