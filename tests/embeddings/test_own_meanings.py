"""A worker's sentences are compared by its own child, which may end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from lapel.slices.embeddings.service import Embeddings, EmbeddingsAway, NoEmbeddings, OwnMeanings

VECTOR = b"\0" * 4


class Ending:
    """An embedding model whose child ends so many times."""

    def __init__(self, ends: int) -> None:
        self.ends = ends

    async def passages(self, texts: Sequence[str]) -> list[bytes]:
        """As Embeddings.passages."""
        self.ends -= 1
        if self.ends >= 0:
            raise EmbeddingsAway
        return [VECTOR] * len(texts)


class Missing:
    """An embedding model that is not installed."""

    async def passages(self, texts: Sequence[str]) -> list[bytes]:
        """As Embeddings.passages."""
        raise NoEmbeddings(str(texts))


async def test_another_child_does_what_the_first_did_not_end() -> None:
    meanings = OwnMeanings(cast("Embeddings", Ending(1)))
    assert await meanings.sentences(["one", "two"]) == [VECTOR, VECTOR]


async def test_a_model_that_is_away_is_not_taken_for_none() -> None:
    """With None, a summary would lose the entries whose words are not those of the transcript."""
    with pytest.raises(EmbeddingsAway):
        await OwnMeanings(cast("Embeddings", Ending(2))).sentences(["one"])


async def test_without_a_model_there_are_no_vectors() -> None:
    assert await OwnMeanings(cast("Embeddings", Missing())).sentences(["one"]) is None
