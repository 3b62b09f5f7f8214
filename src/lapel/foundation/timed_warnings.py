"""Warnings beside a result, with the times to which they apply."""

from __future__ import annotations

import msgspec


class TimedWarning(msgspec.Struct, frozen=True, kw_only=True):
    """Something about a result that a caller must know although the work succeeded.

    `code`: for programs; new codes may come. `message`: for people. `start_ms`: the place in the decoded
    audio. `end_ms`: where it ends; null if it does not, or if it is unknown. Both are null if the warning is
    about the whole. `missing_ms`: how much audio is missing; null if that is unknown.
    """

    code: str
    message: str
    start_ms: int | None = None
    end_ms: int | None = None
    missing_ms: int | None = None


def warnings_in(stored: str | None) -> list[TimedWarning]:
    """The warnings of a column: JSON, NULL for none."""
    return [] if stored is None else _decode(stored)


_decode = msgspec.json.Decoder(list[TimedWarning]).decode
