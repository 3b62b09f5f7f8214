"""Devices: their registry, their bindings to end users, and their tokens."""
