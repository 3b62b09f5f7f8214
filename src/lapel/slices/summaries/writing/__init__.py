"""Writes a summary: by a language model, or from sentences of the transcript."""
