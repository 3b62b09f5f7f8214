"""The HTTP calls of a simulated device, and their counts and latencies."""
