"""Whose turn it is, when more callers want a connection than there are."""
