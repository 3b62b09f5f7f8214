"""Cleans the text of a model or provider for JSON, XML, PostgreSQL, terminals and people."""

from __future__ import annotations

import re

# PostgreSQL, XML and terminals each fail on some of these: control characters other than white space, format
# characters, lone surrogates and noncharacters. U+200C and U+200D are kept, because some scripts need them.
_UNFIT = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e"
    "\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0x10000, 0x110000, 0x10000))
    + "]"
)


def storable(text: str) -> str:
    """The text without characters that PostgreSQL, XML or terminals refuse."""
    return _UNFIT.sub("", text)


def plain(text: str) -> str:
    """The text on one line, with single spaces between words; empty if it has no visible character."""
    fit = " ".join(storable(text).split())
    return fit if any(each.isprintable() and each != " " for each in fit) else ""
