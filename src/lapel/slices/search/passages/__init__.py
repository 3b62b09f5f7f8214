"""Sentences, chunks and searchable words of a transcript; pure functions."""
