"""The language model on this machine: its weights, its process, and the adapter that calls it."""
