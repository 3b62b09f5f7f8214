"""Splits a growing text, in which marks name passages, into sentences."""

from __future__ import annotations

import re

import msgspec

from lapel.slices.search.service import SENTENCE_MARKS, sentence_ends

# A longer sentence is cut, so that the text which is read again with each piece stays short.
_LONGEST = 1_000
_WORD = re.compile(r"\w")
# Before it, a dot may be one of an abbreviation or of an ordinal number: the next word tells.
_NEXT_WORD = re.compile(r"\s*(?:\S+\s|.{24})", re.DOTALL)
_CLOSED = re.compile(rf"[{SENTENCE_MARKS}]+[\"'”’»」』）)\]*_]*\Z")
_STOPPED = re.compile(rf"[{SENTENCE_MARKS}][\"'”’»」』）)\]*_]*\Z")
# The end of a line. A line that begins with a small letter continues the one before it.
_LINES = re.compile(r"[^\S\n]*+\n\s*+")
# What begins an entry of a list or a heading: no part of what it claims.
_BULLET = re.compile(r"(?:(?:[-*+•>–—]|#{1,6})\s+)*")
_NUMBERED = re.compile(r"\(?(\d{1,3})[.)](?:\s+|\Z)")


class MarkedSentence(msgspec.Struct, frozen=True):
    """A sentence of a model. `gap`: the white space before it. `text`: without marks. `clauses`: each text
    that a mark follows, with the numbers of the mark. `tail`: the text after the last mark. `skipped`: the
    characters at the beginning that belong to a list."""

    gap: str
    text: str
    clauses: list[tuple[str, list[int]]]
    tail: str
    skipped: int

    @property
    def claim(self) -> str:
        """What the sentence says, without what belongs to a list."""
        return self.text[self.skipped :]

    @property
    def first_claim(self) -> str:
        """What the first clause says."""
        return self.clauses[0][0][self.skipped :]


class GrowingSentences:
    """The end of a text that is still being written."""

    def __init__(self) -> None:
        self._text = ""
        self._marks: list[tuple[int, list[int]]] = []
        # The number of the last entry of a numbered list.
        self._entry = 0

    def add(self, text: str) -> None:
        """Add text."""
        self._text += text

    def mark(self, numbers: list[int]) -> bool:
        """Add a mark. Returns whether it follows text that is still here."""
        if _WORD.search(self._text) is None or not self._is_content(self._text):
            return False
        self._marks.append((len(self._text), numbers))
        return True

    def take_ended(self) -> MarkedSentence | None:
        """Take away the first sentence, if it has ended and what follows it is no mark."""
        end = self._first_end()
        return None if end is None else self._take(end)

    def take_last(self) -> MarkedSentence | None:
        """Take away the first sentence of a text that does not go on; None if nothing is left."""
        if not self._text:
            return None
        return self._take(next(iter(self._ends()), len(self._text)))

    def peek_closed(self) -> MarkedSentence | None:
        """All that is here, if it is one sentence with marks, and only a full stop is after the last one."""
        if not self._marks or self._marks[-1][0] == len(self._text):
            return None
        if _CLOSED.match(self._text, self._marks[-1][0]) is None or self._ends():
            return None
        return self._sentence(len(self._text))[0]

    def _first_end(self) -> int | None:
        ends = self._ends()
        if ends and self._is_settled(ends[0]):
            return ends[0]
        if len(self._text) <= _LONGEST:
            return None
        space = self._text.rfind(" ", 1, _LONGEST)
        return space if space > 0 else _LONGEST

    def _is_settled(self, end: int) -> bool:
        """Whether what follows shows that a sentence ends there, and that no mark follows."""
        following = self._text[end:].lstrip()
        between = self._text[end : len(self._text) - len(following)]
        if not following or "\n" in between or "." not in self._text[max(end - 3, 0) : end]:
            return bool(following)
        if any(_CLOSED.match(self._text[place:end]) for place, _ in self._marks if place < end):
            return True  # a mark before a dot is no abbreviation
        return _NEXT_WORD.match(self._text, end) is not None

    def _ends(self) -> list[int]:
        """The places at which sentences end, before the end of the text."""
        text = self._text
        ends = set(sentence_ends(text, without_space=True))
        for place, _ in self._marks:  # "[2]It goes on", without a space
            if text[place : place + 1].isalnum() and _STOPPED.search(text[max(place - 4, 0) : place]):
                ends.add(place)
        for found in _LINES.finditer(text):
            following = text[found.end() : found.end() + 1]
            is_wrapped = following.islower() and found[0].count("\n") == 1
            if not is_wrapped:
                ends.add(found.start())
        return [each for each in sorted(ends) if each < len(text) and self._is_content(text[:each])]

    def _is_content(self, text: str) -> bool:
        """Whether a text is more than what begins an entry of a list."""
        return self._count_skipped(text.strip(), at_end=True) < len(text.strip())

    def _count_skipped(self, text: str, *, at_end: bool = False) -> int:
        """How many characters at the beginning belong to a list. A number does only if it counts on."""
        bullet = _BULLET.match(text)
        start = 0 if bullet is None else bullet.end()
        number = _NUMBERED.match(text, start)
        if number is None or int(number[1]) not in (1, self._entry + 1):
            return start
        # "1. Mai" is a date.
        is_ordinal = number[0].rstrip().endswith(".") and not (
            at_end or number.end(1) + 1 in sentence_ends(text)
        )
        return start if is_ordinal else number.end()

    def _take(self, end: int) -> MarkedSentence:
        sentence, entry = self._sentence(end)
        self._entry = entry
        self._text = self._text[end:]
        self._marks = [(place - end, numbers) for place, numbers in self._marks if place > end]
        return sentence

    def _sentence(self, end: int) -> tuple[MarkedSentence, int]:
        """The sentence up to a place, and the number of the list's last entry then."""
        whole = self._text[:end]
        start = len(whole) - len(whole.lstrip())
        clauses: list[tuple[str, list[int]]] = []
        before = start
        for place, numbers in self._marks:
            if place > end:
                break
            text = whole[before:place]
            if _WORD.search(text):
                clauses.append((text, numbers))
            elif clauses:  # several marks, perhaps with a comma between them
                clauses[-1] = (clauses[-1][0], [*clauses[-1][1], *numbers])
            before = place
        text = "".join(each for each, _ in clauses) + whole[before:]
        skipped = self._count_skipped(text)
        number = _NUMBERED.search(text[:skipped])
        entry = self._entry if number is None else int(number[1])
        return MarkedSentence(whole[:start], text, clauses, whole[before:], skipped), entry
