"""One simulated device: its state, its life, and each thing that it does."""
