"""The HTTP calls of a simulated device, and what is counted of them."""
