"""Reads the text of a model as it comes: text, and marks that name passages, such as `[2]` or `[1, 3]`."""

from __future__ import annotations

import re
from typing import TypeAlias

import msgspec

_MARK = re.compile(r"[\[【]\s*(\d{1,4}(?:\s*[,;、]\s*\d{1,4})*)\s*[\]】]")
_NUMBER = re.compile(r"\d+")
# The beginning of a mark. No mark is longer than `_LONGEST` characters.
_BEGUN = re.compile(r"[\[【][\d\s,;、]*\Z")
_LONGEST = 64
# More white space is dropped.
_MOST_SPACE = 200


class Mark(msgspec.Struct, frozen=True):
    """The numbers of passages on which the text before it rests."""

    numbers: list[int]


Token: TypeAlias = str | Mark


class MarkedText:
    """Splits pieces of text into text and marks. White space before a mark is dropped with it."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, piece: str) -> list[Token]:
        """What the text so far makes sure. Its end is kept back while it may be the beginning of a mark."""
        text = self._rest + piece
        last = text[-_LONGEST:]
        place = max(last.rfind("["), last.rfind("【"))
        keep = len(text)
        if place >= 0 and _BEGUN.match(last[place:]):
            keep -= len(last) - place
        keep = len(text[:keep].rstrip())
        self._rest = text[keep:]
        if len(self._rest) > _MOST_SPACE:
            self._rest = "\n\n" + self._rest.lstrip()
        # A mark ends with a bracket, so no mark reaches into the rest.
        return _split(text[:keep])

    def end(self) -> list[Token]:
        """What was kept back, without white space at its end."""
        rest, self._rest = self._rest.rstrip(), ""
        return _split(rest)


def _split(text: str) -> list[Token]:
    tokens: list[Token] = []
    place = 0
    for mark in _MARK.finditer(text):
        before = text[place : mark.start()].rstrip()
        if before:
            tokens.append(before)
        tokens.append(Mark([int(each) for each in _NUMBER.findall(mark[1])]))
        place = mark.end()
    if text[place:]:
        tokens.append(text[place:])
    return tokens
