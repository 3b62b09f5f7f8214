"""`lapel backup` and `lapel restore`."""
