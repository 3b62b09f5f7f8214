"""Whose turn it is, when more callers want something, such as a connection, than there is of it."""
