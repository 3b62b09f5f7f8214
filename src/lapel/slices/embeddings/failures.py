"""Why texts were not embedded. Callers are other slices, never clients."""

from __future__ import annotations


class EmbeddingsAway(Exception):
    """The process of the model ended, or took too long. A later call may succeed."""


class NoEmbeddings(Exception):
    """The model is not installed, or its files are damaged. The message says what to do."""
