"""The places of a file at which audio is missing, as its container shows them."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

# gap: audio is missing between two parts. cut: the audio ends too early. corrupt_bytes: bytes that are no
# audio, without a sign that audio is missing.
DamageKind: TypeAlias = Literal["gap", "cut", "corrupt_bytes"]


class FilePlace(NamedTuple):
    """Damage in a file, from byte `begin` on. `at`: the byte at which readable audio goes on, or the file's
    size.

    `missing_ms`: how much audio is missing; None if that is unknown. `before_ms`: how much audio is before
    this place; None if the container does not say.
    """

    kind: DamageKind
    begin: int
    at: int
    missing_ms: int | None = None
    before_ms: int | None = None


class Unscannable(Exception):
    """The file has a form that this reader does not know, or takes too much work. Nothing more is found."""
