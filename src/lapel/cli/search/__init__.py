"""The command `lapel search`."""
