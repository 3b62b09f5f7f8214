"""The erasure ledger outside of the database, for the time after a restore."""
