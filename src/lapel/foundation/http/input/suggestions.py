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


def suggestion(name: str, known: Iterable[str]) -> str:
    """` Did you mean …?` with the known name that is most like this one; empty if none is like it."""
    found = get_close_matches(name[:_COMPARED].lower(), sorted(known), 1, _ALIKE)
    return f" Did you mean `{found[0]}`?" if found else ""
