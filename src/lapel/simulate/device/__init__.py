"""One simulated device: its state, its schedule, and each of its activities."""
