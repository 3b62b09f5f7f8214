"""The chain of hashes over each world's audit log, and its signed checkpoints."""
