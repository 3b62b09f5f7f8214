"""Copies of audio at speech services, and their deletion."""
