"""The name that a client probably meant."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# The part of a client's name that is compared: the time grows with its length.
_COMPARED = 64
# 1 is equal.
_ALIKE = 0.7


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like this one; None if none is like it."""
    found = get_close_matches(name[:_COMPARED].lower(), sorted(known), 1, _ALIKE)
    return found[0] if found else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """` Did you mean …?` with the nearest name; empty if no name is like it."""
    found = nearest(name, known)
    return "" if found is None else f" Did you mean `{found}`?"
