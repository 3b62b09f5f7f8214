"""Differences from the contract that are known: what mends one takes its line out."""

from __future__ import annotations

import re

# Where (the path, or an event's type), and what the reader says of it.
_KNOWN = ((r"/v1/devices.*|device\..*", r"settings\.\w+: unknown"),)


def tolerates(where: str, fault: str) -> bool:
    """Whether a fault is one of them."""
    return any(re.fullmatch(place, where) and re.search(words, fault) for place, words in _KNOWN)
