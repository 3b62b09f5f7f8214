"""The model: its files, and the child process of one process in which it runs."""
