"""Retention: recordings and audio are erased when they are older than the configuration allows."""
