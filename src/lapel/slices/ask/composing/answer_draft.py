"""An answer as it grows: parts with checked citations.

A citation whose passage does not say the claim before it is dropped. No text is shown before the first
citation that holds: an answer without any such citation is replaced by a refusal, and nobody has seen its
text by then.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from lapel.foundation.text_cleaning import storable
from lapel.slices.ask.composing.marked_text import Mark, MarkedText
from lapel.slices.ask.wire import CitationPart, Part, TextPart

# (claim, number of a passage) -> the citation, or None.
Check: TypeAlias = Callable[[str, int], Awaitable[CitationPart | None]]

MAX_CHARACTERS = 32_000
MAX_PARTS = 1000
_REPEATS = 5
_LONG = 12
# Citations that one mark, and one place of the text, may have.
_AT_ONCE = 5
# The end of a sentence. A run of marks is looked at once: the search begins at its first mark, and gives none
# of them back.
SENTENCE_END = re.compile(r"(?<![.!?…。！？])[.!?…。！？]++[\"'”’»)\]]*+(?:\s|\Z)|\n|[。！？]")


class AnswerDraft:
    """Takes the pieces of a model's text."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._reading = MarkedText()
        self._parts: list[Part] = []
        self._claim = ""
        self._last_claim = ""
        self._here: set[tuple[str, int]] = set()
        self._said: Counter[str] = Counter()
        self._characters = 0
        self.has_marks = False
        """Whether the model has named any passage."""
        self.is_supported = False
        self.is_full = False
        """Whether the rest is not wanted: it is too long, or repeats itself."""

    @property
    def parts(self) -> list[Part]:
        """The parts that may be shown."""
        return self._parts if self.is_supported else []

    @property
    def text(self) -> str:
        """All text, shown or not."""
        return "".join(each.text for each in self._parts if isinstance(each, TextPart))

    async def feed(self, piece: str) -> None:
        """Add the next piece, without characters that cannot be stored."""
        await self._take(self._reading.feed(storable(piece)))

    async def end(self) -> None:
        """Add what was kept back at the end."""
        await self._take(self._reading.end())

    async def _take(self, tokens: list[str | Mark]) -> None:
        for token in tokens:
            if self.is_full:
                return
            if isinstance(token, Mark):
                self.has_marks = True
                for number in token.numbers[:_AT_ONCE]:
                    await self._cite(number)
            else:
                self._add(token)

    def _add(self, text: str) -> None:
        if not self._parts:
            text = text.lstrip()
        text = text[: MAX_CHARACTERS - self._characters]
        if not text:
            return
        self._characters += len(text)
        self._here.clear()
        last = self._parts[-1] if self._parts else None
        if isinstance(last, TextPart):
            self._parts[-1] = TextPart(text=last.text + text)
        else:
            self._parts.append(TextPart(text=text))
        self._follow(text)
        self.is_full = self.is_full or self._characters >= MAX_CHARACTERS or len(self._parts) >= MAX_PARTS - 1

    def _follow(self, text: str) -> None:
        """Keep the sentence that the text is in, and count sentences that come again."""
        self._claim += text
        while found := SENTENCE_END.search(self._claim):
            sentence = self._claim[: found.end()].strip()
            self._claim = self._claim[found.end() :]
            if sentence:
                self._last_claim = sentence
                self._count(sentence)

    def _count(self, sentence: str) -> None:
        if len(sentence) >= _LONG:
            self._said[sentence] += 1
            self.is_full = self.is_full or self._said[sentence] >= _REPEATS

    async def _cite(self, number: int) -> None:
        own = self._claim.strip()
        if own:
            self._count(own)
        claim = own or self._last_claim
        if not claim or len(self._parts) >= MAX_PARTS:
            return
        self._last_claim, self._claim = claim, ""
        found = await self._check(claim, number)
        if found is None or (found.recording_id, found.start_ms) in self._here:
            return
        self._here.add((found.recording_id, found.start_ms))
        self._parts.append(found)
        self.is_supported = True
