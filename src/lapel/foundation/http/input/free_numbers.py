"""Numbers in JSON that no struct describes: in metadata, contexts and reports of clients."""

from __future__ import annotations

import math


def free_number(text: str) -> float:
    """For msgspec as `float_hook`: its own parser takes 20 microseconds for `1e307`, Python's less than one.

    A mebibyte of such numbers would hold up all other requests for seconds. Raises ValueError for a number
    out of range; msgspec adds the number's place.
    """
    number = float(text)
    if math.isinf(number):
        raise ValueError("Number out of range")
    return number
