"""Splits text into pieces that stay whole, and joins these to lines.

A small part of Unicode's UAX #14 (line breaking) and UAX #29 (grapheme clusters), with widths as in UAX #11
(East Asian width).
"""

from __future__ import annotations

import re
import unicodedata
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from lapel.slices.transcription.speech.punctuation import CLAUSE_ENDS, SENTENCE_ENDS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

# Columns of a line. A wide character (Chinese, Japanese, Korean) takes two, a combining mark none.
LINE = 42

_TOKEN = re.compile("[^ ]+")
# Punctuation that French writes after a space; it stays on the same line.
_CLOSING = re.compile("[?!:;»%]+\\Z")
_PLAIN = re.compile("[ -~]*\\Z")
_ZERO_WIDTH_SPACE = "\u200b"
_JOINER = "\u200d"
# Characters, mostly East Asian punctuation, that may not start a line. `_NOT_LAST`: may not end a line.
_NOT_FIRST = frozenset(
    "、。，．・：；？！ー々〻ゝゞヽヾ）］｝〕〉》」』】〙〗’”…‥〜～ぁぃぅぇぉっゃゅょァィゥェォッャュョ"
    ",.!?:;)]}%％»›"
)
_NOT_LAST = frozenset("（［｛〔〈《「『【〘〖‘“([{«‹$¥￥＄")
_SEPARATOR = "・"  # between items and between the parts of a name


class Piece(NamedTuple):
    """A piece of text that stays on one line: a word or, in scripts without spaces, a few characters.

    `first`, `last`: range of the piece in the text's characters, counted without spaces; `last` is excluded.
    `spaced`: a space precedes the piece. `ending`: 2 at the end of a sentence, 1 at the end of a clause,
    else 0.
    """

    text: str
    columns: int
    first: int
    last: int
    spaced: bool
    ending: int


def pieces(text: str, words: Collection[int] = ()) -> list[Piece]:
    """Split a text into pieces that must stay whole on a line; no piece is wider than a line.

    `words`: the places at which words start, counted as in `Piece`; empty if unknown. If they are known,
    scripts without spaces are split at these places.
    """
    found: list[Piece] = []
    place = 0
    plain = _PLAIN.match(text) is not None
    for token in _TOKEN.findall(text):
        if plain and len(token) <= LINE and token[-1].isalnum():  # as nearly always
            end = place + len(token)
            found.append(Piece(token, len(token), place, end, bool(found), 0))
            place = end
            continue
        if found and _CLOSING.match(token) and found[-1].columns + 1 + len(token) <= LINE:
            found[-1] = _closed(found[-1], token)
            place += len(token)
            continue
        spaced = bool(found)
        for part in _parts(token, place, words):
            found.append(Piece(part, columns(part), place, place + len(part), spaced, _ending(part)))
            place += len(part)
            spaced = False
    return found


def columns(text: str) -> int:
    """The width of a text on the screen, in columns."""
    if _PLAIN.match(text):
        return len(text)
    return sum(_columns(each) for each in text)


def lines(row: list[Piece]) -> list[str]:
    """The one or two lines of a cue, of about equal length. The pieces must fit into two lines."""
    total = _columns_of(row)
    if total <= LINE:
        return [_text(row)]
    best, best_cost = 1, float("inf")
    before = 0
    for cut in range(1, len(row)):
        piece = row[cut - 1]
        before += piece.columns + (piece.spaced and cut > 1)
        after = total - before - row[cut].spaced
        if before <= LINE and after <= LINE:
            cost = abs(before - after) - 6 * piece.ending
            if cost < best_cost:
                best, best_cost = cut, cost
    return [_text(row[:best]), _text(row[best:])]


def fitting(row: list[Piece], begin: int, end: int) -> int:
    """The index, at most `end`, up to which the pieces from `begin` fit into two lines."""
    for _ in range(2):
        room = LINE
        first = begin
        while begin < end:
            room -= row[begin].columns + (row[begin].spaced and begin > first)
            if room < 0:
                break
            begin += 1
    return begin


def _closed(piece: Piece, mark: str) -> Piece:
    return Piece(
        text=f"{piece.text} {mark}",
        columns=piece.columns + 1 + len(mark),
        first=piece.first,
        last=piece.last + len(mark),
        spaced=piece.spaced,
        ending=_ending(mark),
    )


def _text(row: list[Piece]) -> str:
    return "".join(f" {each.text}" if each.spaced else each.text for each in row).lstrip(" ")


def _columns_of(row: list[Piece]) -> int:
    return sum(each.columns + each.spaced for each in row) - row[0].spaced


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _ending(text: str) -> int:
    if text[-1:].isalnum():  # as nearly always
        return 0
    if SENTENCE_ENDS.search(text[-8:]):
        return 2
    return 1 if CLAUSE_ENDS.search(text[-8:]) or text.endswith(_SEPARATOR) else 0


def _parts(token: str, place: int, words: Collection[int]) -> Iterator[str]:
    """The parts of a token (the text between two spaces)."""
    if _PLAIN.match(token) and len(token) <= LINE:
        yield token
        return
    clusters = list(_clusters(token))
    squares = any(_columns(each[0]) == 2 for each in clusters)
    if not squares and _ZERO_WIDTH_SPACE not in token and columns(token) <= LINE:
        yield token
        return
    known = any(each in words for each in range(place + 1, place + len(token)))
    part: list[str] = []
    for cluster in clusters:
        if part and _may_part(part[-1], cluster, (place in words) if known else None):
            yield from _bounded(part)
            part = []
        part.append(cluster)
        place += len(cluster)
    yield from _bounded(part)


def _clusters(token: str) -> Iterator[str]:
    """Each character with the marks, joiners and modifiers that belong to it."""
    cluster = ""
    for each in token:
        joined = cluster.endswith(_JOINER) or each == _JOINER or "\U0001f3fb" <= each <= "\U0001f3ff"
        if cluster and not joined and unicodedata.category(each)[0] != "M":
            yield cluster
            cluster = ""
        cluster += each
    yield cluster


def _may_part(before: str, after: str, word_starts: bool | None) -> bool:
    """Whether a line may end between two clusters. `word_starts`: None if the words are not known."""
    if before.endswith(_ZERO_WIDTH_SPACE):
        return True
    if after[0] in _NOT_FIRST or before[0] in _NOT_LAST:
        return False
    if word_starts is not None:
        return word_starts
    return _columns(before[0]) == 2 or _columns(after[0]) == 2


def _bounded(clusters: list[str]) -> Iterator[str]:
    """Clusters that may be wider than a line, in parts of about equal width."""
    total = sum(map(columns, clusters))
    share = ceil(total / max(ceil(total / LINE), 1))
    part, room = "", share
    for cluster in clusters:
        width = columns(cluster)
        if part and width > room:
            yield part
            part, room = "", share
        part += cluster
        room -= width
    yield part
