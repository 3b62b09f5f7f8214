"""`lapel eval`."""
