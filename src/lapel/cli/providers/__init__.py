"""The tests of `lapel providers test`."""
