"""The ends of keys outside of the database, for the time after a restore."""
