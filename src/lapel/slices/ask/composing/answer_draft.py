"""An answer as it grows: the sentences that a passage supports, each with its citations.

A sentence is judged when it has ended and no mark can follow any more, and nothing of it is shown before. A
mark supports the text before it, back to the mark before it or to the beginning of the sentence. From the
first text on that no passage supports, the rest of its sentence is left out, and a sentence without any
supported beginning is left out as a whole.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import Protocol

import msgspec

from lapel.foundation.text_cleaning import storable
from lapel.slices.ask.composing.answer_prompt import NOT_THERE
from lapel.slices.ask.composing.growing_sentences import GrowingSentences, MarkedSentence
from lapel.slices.ask.composing.marked_text import Mark, MarkedText
from lapel.slices.ask.wire import CitationPart, Part, TextPart
from lapel.slices.language_models.extractive.text_links import links_in
from lapel.slices.search.service import QUESTION_MARKS, SENTENCE_MARKS

MAX_CHARACTERS = 32_000
MAX_PARTS = 1000
_PIECE = 200
_REPEATS = 5
_LONG = 12
# Citations that one place of the text may have.
_AT_ONCE = 5
_WORD = re.compile(r"\w")
# Characters at the end of the shown text that may begin a link with the text that follows.
_LINKED = 1_100
# What closes a sentence whose end is left out. A question mark may belong to what is left out.
_STOPS = "".join(each for each in SENTENCE_MARKS if each not in QUESTION_MARKS)
_CLOSING = re.compile(rf"([{_STOPS}]*)[*`)）”“]*\Z")
_PAIRS = {"**": "**", "`": "`", "(": ")", "（": "）", "“": "”", "„": "“"}
_PAIRED = re.compile(r"\*\*|[`()（）“”„]")


class Judge(Protocol):
    """Says what supports a claim."""

    async def check(self, claim: str, number: int) -> CitationPart | None:
        """Where the passage with this number says the claim."""
        ...

    async def find(self, claim: str) -> CitationPart | None:
        """Where any passage says the claim, for which the model names none."""
        ...


class _Supported(msgspec.Struct, frozen=True):
    """What is left of a sentence: texts, each with the citations after it. `is_whole`: nothing was left
    out."""

    pieces: list[tuple[str, list[CitationPart]]]
    is_whole: bool = False


class AnswerDraft:
    """Takes the pieces of a model's text. `after`: the draft that it continues, none of whose sentences is
    shown again."""

    def __init__(self, judge: Judge, *, after: AnswerDraft | None = None) -> None:
        self._judge = judge
        self.shown: set[str] = set()
        self._shown_before: set[str] = set() if after is None else after.shown
        self._reading = MarkedText()
        self._sentences = GrowingSentences()
        self._parts: list[Part] = []
        self._gap = ""
        self._end = ""  # of the text that is shown
        # The claim of the last text that is shown, while a further mark may follow it, and the passages that
        # it was compared with since then.
        self._last_claim: str | None = None
        self._named_late: set[int] = set()
        # Of the sentence that was judged last before it had ended: each further full stop would ask again.
        self._unsupported: list[tuple[str, list[int]]] | None = None
        self._said: Counter[str] = Counter()
        self._characters = 0
        self._has_refused = False
        self.is_full = False
        """Whether the rest is not wanted: it is too long, or repeats itself."""

    @property
    def parts(self) -> list[Part]:
        """The parts that may be shown: text that passages support, and citations."""
        return self._parts

    async def feed(self, piece: str) -> None:
        """Add the next piece, without characters that cannot be stored."""
        await self._take(self._reading.feed(storable(piece)))

    async def end(self) -> None:
        """Judge what was kept back at the end."""
        await self._take(self._reading.end())
        while not self.is_full and (sentence := self._sentences.take_last()) is not None:
            await self._add(sentence)

    async def _take(self, tokens: list[str | Mark]) -> None:
        for token in tokens:
            if self.is_full:
                return
            if isinstance(token, str):
                await self._take_text(token)
            elif not self._sentences.mark(token.numbers[:_AT_ONCE]):
                await self._cite_late(token.numbers)
            await self._add_ended()

    async def _take_text(self, text: str) -> None:
        """Take a text piece by piece, because all that has not ended is read again with each sentence."""
        for start in range(0, len(text), _PIECE):
            piece = text[start : start + _PIECE][: MAX_CHARACTERS - self._characters]
            self._sentences.add(piece)
            self._characters += len(piece)
            await self._add_ended()
            self.is_full = self.is_full or self._characters >= MAX_CHARACTERS
            if self.is_full:
                return

    async def _add_ended(self) -> None:
        while not self.is_full and (sentence := self._sentences.take_ended()) is not None:
            await self._add(sentence)
        # A sentence whose marks are before its full stop need not wait for the next word.
        closed = None if self.is_full else self._sentences.peek_closed()
        if closed is None or closed.clauses == self._unsupported:
            return
        supported = await self._judge_sentence(closed)
        if supported.is_whole:
            self._sentences.take_last()
            self._show(closed, supported)
        else:
            self._unsupported = closed.clauses

    async def _add(self, sentence: MarkedSentence) -> None:
        self._show(sentence, await self._judge_sentence(sentence))

    def _show(self, sentence: MarkedSentence, supported: _Supported) -> None:
        if len(sentence.text) >= _LONG:
            self._said[sentence.text] += 1
            self.is_full = self.is_full or self._said[sentence.text] >= _REPEATS
        self._gap = max(self._gap, sentence.gap, key=lambda each: (each.count("\n"), len(each)))
        if not supported.pieces:
            return
        between = self._gap if self._parts else ""
        whole = "".join(text for text, _ in supported.pieces)
        if sentence.text in self._shown_before or _make_a_link([self._end, between, whole]):
            return
        self.shown.add(sentence.text)
        self._gap, self._end = "", f"{self._end}{between}{whole}"[-_LINKED:]
        for text, citations in supported.pieces[: (MAX_PARTS - len(self._parts)) // (1 + _AT_ONCE)]:
            last = self._parts[-1] if self._parts else None
            if isinstance(last, TextPart):
                self._parts[-1] = TextPart(text=last.text + between + text)
            else:
                self._parts.append(TextPart(text=between + text))
            between = ""
            self._cite(citations)
        self._last_claim = next(text for text, cited in reversed(supported.pieces) if cited)
        self._named_late.clear()
        self.is_full = self.is_full or len(self._parts) > MAX_PARTS - 2 * (1 + _AT_ONCE)

    async def _cite_late(self, numbers: list[int]) -> None:
        """Cite the passages of a mark that stands behind the last text that is shown."""
        for number in numbers:
            if self._last_claim is None or len(self._named_late) >= _AT_ONCE:
                return
            if number not in self._named_late:
                self._named_late.add(number)
                self._cite(await self._citations(self._last_claim, [number]))

    def _cite(self, citations: list[CitationPart]) -> None:
        """Add citations after the last text, each once."""
        for each in citations:
            here: list[Part] = []
            for part in reversed(self._parts):
                if isinstance(part, TextPart) and _WORD.search(part.text):
                    break
                here.append(part)
            if each not in here and len(here) < _AT_ONCE and len(self._parts) < MAX_PARTS:
                self._parts.append(each)

    async def _judge_sentence(self, sentence: MarkedSentence) -> _Supported:
        """What passages support of a sentence."""
        nothing = _Supported([])
        if NOT_THERE.casefold() in sentence.text.casefold():
            self._has_refused = True
            return nothing
        if not sentence.clauses:
            found = None if self._has_refused else await self._judge.find(sentence.claim)
            return nothing if found is None else _Supported([(sentence.text, [found])], is_whole=True)
        pieces: list[tuple[str, list[CitationPart]]] = []
        clauses = [*sentence.clauses]
        if _says_something(sentence.tail):  # it has no mark of its own
            clauses.append((sentence.tail, sentence.clauses[-1][1]))
        for place, (text, numbers) in enumerate(clauses):
            cited = await self._citations(text if place else sentence.first_claim, numbers)
            if not cited:
                break
            pieces.append((text, cited))
        is_whole = len(pieces) == len(clauses)
        if not pieces:
            return nothing
        tail = sentence.tail if is_whole and len(clauses) == len(sentence.clauses) else ""
        if not is_whole and (closing := _CLOSING.search(sentence.text)) is not None:
            kept = "".join(text for text, _ in pieces)
            tail = _close_pairs(kept) + closing[1]
        if tail:
            pieces.append((tail, []))
        return nothing if _make_a_link([text for text, _ in pieces]) else _Supported(pieces, is_whole)

    async def _citations(self, claim: str, numbers: list[int]) -> list[CitationPart]:
        """Of the passages that say the claim, each once."""
        few = list(dict.fromkeys(numbers))[:_AT_ONCE]
        found = [await self._judge.check(claim, number) for number in few]
        return list(dict.fromkeys(each for each in found if each is not None))


def _says_something(text: str) -> bool:
    """Whether a text has more than punctuation: symbols such as circled letters say something, too."""
    return bool(links_in(text)) or any(
        not each.isspace() and not unicodedata.category(each).startswith("P") and each not in "`~|"
        for each in text
    )


def _close_pairs(text: str) -> str:
    """What closes the brackets, quotation marks and Markdown that are open at the end of a text."""
    ends: list[str] = []
    for mark in _PAIRED.findall(text):
        if ends and mark == ends[-1]:
            ends.pop()
        elif mark in _PAIRS:
            ends.append(_PAIRS[mark])
    return "".join(reversed(ends))


def _make_a_link(texts: list[str]) -> bool:
    """Whether texts, none of which has a link that was not said, have one when they are joined."""
    return not links_in("".join(texts)) <= set[str]().union(*map(links_in, texts))
