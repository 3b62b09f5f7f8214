"""Child processes for hostile input: bounded, confined, and ended with their parent."""
