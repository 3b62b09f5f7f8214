"""Processes, listeners and supervision: how the application is run."""
