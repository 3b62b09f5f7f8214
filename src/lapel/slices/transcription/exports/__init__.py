"""Exports of a transcript to files for other programs."""
