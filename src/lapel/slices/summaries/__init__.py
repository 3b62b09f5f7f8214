"""Summaries: what a transcript says, in short, by a template or a prompt."""
