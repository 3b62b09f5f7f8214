"""Devices: the registry, and who wears what."""
