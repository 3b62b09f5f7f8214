"""The tokens of devices."""
