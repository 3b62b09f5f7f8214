"""Base 62, digits first, then upper case, then lower case: its order is ASCII order."""

from __future__ import annotations

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# Two digits at a time halve the divisions. In their order: all numbers of two digits.
PAIRS = [a + b for a in ALPHABET for b in ALPHABET]


def encode(number: int, width: int) -> str:
    """The number in exactly `width` characters (an even count), padded with zeros.

    Raises OverflowError when it does not fit.
    """
    parts: list[str] = []
    for _ in range(width // 2):
        number, rest = divmod(number, 3844)
        parts.append(PAIRS[rest])
    if number:
        raise OverflowError(f"{width} base-62 characters are too few")
    parts.reverse()
    return "".join(parts)


def decode(text: str) -> int:
    """The inverse of `encode`. Raises ValueError for a character that is not in the alphabet."""
    number = 0
    for character in text:
        number = number * 62 + ALPHABET.index(character)
    return number
