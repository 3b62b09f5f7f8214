"""Finds where audio is missing in a file: reads containers, and counts what the decoder gives."""
