"""The facts of an object: a client states them, and a verification compares them with the object."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """SHA-256 (hexadecimal), size in bytes, duration in milliseconds; None: not stated.

    `claimed_duration_ms`: of known facts, the duration that a client stated, if another one was measured.
    """

    sha256: str | None = None
    size: int | None = None
    duration_ms: int | None = None
    claimed_duration_ms: int | None = None

    @property
    def any(self) -> bool:
        """Whether at least one fact is stated."""
        return self != NO_FACTS


NO_FACTS = Facts()


def merged(stated: tuple[Facts, ...]) -> Facts:
    """One set of facts from several. Where two sets state a fact, the earlier set counts."""
    return Facts(
        sha256=next((each.sha256 for each in stated if each.sha256 is not None), None),
        size=next((each.size for each in stated if each.size is not None), None),
        duration_ms=next((each.duration_ms for each in stated if each.duration_ms is not None), None),
    )
