"""`lapel serve`: the process tree, from the data folder's lock to the last process that stops."""
