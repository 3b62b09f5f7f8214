"""Completed transcripts, for other slices."""
