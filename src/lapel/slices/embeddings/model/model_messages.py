"""Requests to the process of the model, and its answers."""

from __future__ import annotations

from typing import Literal

import msgspec

DIMENSIONS = 384
VECTOR_BYTES = DIMENSIONS * 4  # float32, little endian

# The model embeds a question differently from a text that may answer it. Of the kinds of such texts, each
# has a length of its own that is embedded, see loaded_model.py.
Kind = Literal["query", "sentence", "passage"]
# Codes of a Refusal by the process: the weights or the engine of the model cannot be used.
UNUSABLE = "unusable"


class Embed(msgspec.Struct, frozen=True, array_like=True):
    """Texts to embed, all of one kind."""

    texts: list[str]
    kind: Kind


class Vectors(msgspec.Struct, frozen=True, array_like=True):
    """VECTOR_BYTES for each text, in the order of the texts. Each vector has the length 1."""

    packed: bytes


def unpacked(packed: bytes) -> list[bytes]:
    """The vectors, each in VECTOR_BYTES bytes."""
    return [packed[start : start + VECTOR_BYTES] for start in range(0, len(packed), VECTOR_BYTES)]
