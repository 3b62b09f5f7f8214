"""Text of a model or of a provider, made fit for JSON, XML, PostgreSQL, a terminal and the eye."""

from __future__ import annotations

import re

# Control characters that are no white space, lone surrogates, what turns text around, and what is no
# character: PostgreSQL, XML and terminals each choke on some of them.
_UNFIT = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0x10000, 0x110000, 0x10000))
    + "]"
)


def plain(text: str) -> str:
    """The text on one line, single spaces between its words; empty when nothing of it can be seen."""
    fit = " ".join(_UNFIT.sub("", text).split())
    return fit if any(each.isprintable() and each != " " for each in fit) else ""
