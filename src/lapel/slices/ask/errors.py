"""The errors of Ask that clients see."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from lapel.foundation.core.errors import ApiError, Unavailable
from lapel.slices.embeddings.service import EmbeddingsAway


class ProviderError(ApiError):
    """The language model gave no usable answer, or none in time; nothing is stored."""

    status, code = 502, "provider_error"


@contextmanager
def told_of_missing_vectors() -> Generator[None]:
    """Raises Unavailable for EmbeddingsAway: an answer that cannot be checked is neither right nor wrong."""
    try:
        yield
    except EmbeddingsAway as away:
        raise Unavailable(
            "The answer could not be checked, because the embedding model has too much to do. Ask again.",
            retry_after=5,
        ) from away
