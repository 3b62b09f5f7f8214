"""Exports: everything that the server keeps about one end user, as one zip."""
