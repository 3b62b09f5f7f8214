"""`lapel demo`."""
