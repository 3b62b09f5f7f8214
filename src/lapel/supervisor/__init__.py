"""The process tree of `lapel serve`, from the data folder's lock until the last process has ended."""
