"""Lets a second reader judge each entry of a draft, with the turns that it comes from.

Words and meaning find where an entry may come from. Whether a decision was taken or only talked about, who
has a task and until when, only a reader sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec

from lapel.slices.claims.service import Case, Evidence
from lapel.slices.language_models.service import estimated_tokens
from lapel.slices.search.service import Sentence, sentence_ends
from lapel.slices.summaries.writing.drafts import DraftEntry, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lapel.slices.claims.service import ClaimReader, Verdict
    from lapel.slices.summaries.writing.drafts import TemplateField
    from lapel.slices.summaries.writing.turn_support import Support
    from lapel.slices.summaries.writing.turns import SpokenTurn

# Cases of one call, and its tokens. The smallest window that is used has 4,096.
_MOST_CASES, _MOST_TOKENS = 8, 2_000
# Characters of a claim, and of the turns that are read with it.
_MOST_CLAIM, _MOST_SAID = 1_000, 2_400


class ReadableEntry(msgspec.Struct, frozen=True):
    """An entry of a draft. `is_sure`: whether words or meaning support it, so that it stays if the reader
    cannot read now. `prose`: its text is judged sentence by sentence, and may have sentences that are no
    claims, such as those of a letter: only what is contradicted goes."""

    field: TemplateField
    entry: DraftEntry
    is_sure: bool
    prose: bool = False


class ReadEntry(msgspec.Struct, frozen=True):
    """What is left of an entry; None if nothing is. `left_out`: the entry or its sentences that are not."""

    entry: DraftEntry | None
    left_out: int


class EntryReader:
    """Judges entries against one transcript."""

    def __init__(self, reader: ClaimReader, support: Support) -> None:
        self._reader = reader
        self._support = support

    async def keep_supported(self, entries: Sequence[ReadableEntry]) -> list[ReadEntry]:
        """What is left of each entry."""
        pieces = [_pieces(each) for each in entries]
        cases = [
            self._case(each, piece) for each, some in zip(entries, pieces, strict=True) for piece in some
        ]
        verdicts = iter(await self._read(cases))
        return [
            _kept(each, some, [next(verdicts) for _ in some])
            for each, some in zip(entries, pieces, strict=True)
        ]

    def _case(self, readable: ReadableEntry, piece: str) -> Case:
        claim = piece
        if readable.field.kind == "list":
            claim = f"{readable.field.name.replace('_', ' ')}: {piece}"
        turns = self._support.around(piece, readable.entry.turns, most=_MOST_SAID)
        said = [sentence for each in turns for sentence in _sentences(self._support.turns[each])]
        return Case(claim[:_MOST_CLAIM], Evidence(sentences=said))

    async def _read(self, cases: Sequence[Case]) -> list[Verdict | None]:
        """The verdict on each case; None where the reader cannot read now."""
        verdicts: list[Verdict | None] = []
        for some in _grouped(cases):
            found = await self._reader.read(some)
            verdicts.extend([None] * len(some) if found is None else [each.verdict for each in found])
        return verdicts


def _kept(readable: ReadableEntry, pieces: Sequence[str], verdicts: Sequence[Verdict | None]) -> ReadEntry:
    stays = [_stays(readable, each) for each in verdicts]
    left_out = stays.count(False)
    if not left_out:
        return ReadEntry(readable.entry, 0)
    if not any(stays):
        return ReadEntry(None, 1 if len(pieces) == 1 else left_out)
    text = "".join(each for each, good in zip(pieces, stays, strict=True) if good).strip()
    return ReadEntry(DraftEntry(text, readable.entry.turns), left_out)


def _stays(readable: ReadableEntry, verdict: Verdict | None) -> bool:
    if verdict is None:
        return readable.is_sure
    return verdict == "supported" or (readable.prose and verdict == "absent")


def _pieces(readable: ReadableEntry) -> list[str]:
    """The claims of an entry: the sentences of a text, with the white space before them, or the whole."""
    value = readable.entry.value
    if readable.field.kind != "text" or not isinstance(value, str):
        return [_written(value)]
    return [each for each in _split(value) if each.strip()]


def _split(text: str) -> Iterator[str]:
    start = 0
    for end in sentence_ends(text):
        yield text[start:end]
        start = end
    yield text[start:]


def _written(value: object) -> str:
    """A value as a reader sees it: the members of an object with their names."""
    if not isinstance(value, dict):
        return words_of(value)
    members = cast("dict[str, object]", value)
    return "; ".join(f"{name}: {text}" for name, each in members.items() if (text := words_of(each)))


def _sentences(turn: SpokenTurn) -> list[Sentence]:
    return [
        Sentence(each.text, each.speaker, each.start_ms, each.end_ms) for each in turn.sentences or (turn,)
    ]


def _grouped(cases: Sequence[Case]) -> Iterator[list[Case]]:
    """The cases in groups for one call each."""
    group: list[Case] = []
    size = 0
    for each in cases:
        needed = estimated_tokens(each.claim) + sum(map(estimated_tokens, each.evidence.texts))
        if group and (len(group) == _MOST_CASES or size + needed > _MOST_TOKENS):
            yield group
            group, size = [], 0
        group.append(each)
        size += needed
    if group:
        yield group
