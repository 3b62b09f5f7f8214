"""Vectors of short texts, and how near two of them are."""

from __future__ import annotations

from array import array
from operator import mul
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Meanings(Protocol):
    """The vectors of texts: float32, of length 1; None when they are not available."""

    async def sentences(self, texts: Sequence[str]) -> list[bytes] | None:
        """The vectors of up to MOST_SENTENCES texts."""
        ...


def dot(one: array[float], other: array[float]) -> float:
    """The dot product of two vectors: their cosine, if both have length 1."""
    return sum(map(mul, one, other))


def cosines(vectors: Sequence[bytes]) -> list[float]:
    """The cosines of the first of these vectors of length 1 and each of the others."""
    first, *others = (array("f", each) for each in vectors)
    return [dot(first, each) for each in others]
