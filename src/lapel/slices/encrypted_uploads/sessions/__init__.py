"""The sessions of encrypted uploads: created, staged, accepted, recovered, cancelled, and cleared."""
