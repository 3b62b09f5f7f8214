"""Makes a summary of sentences of the transcript, without a language model.

It fills the fields that sentences can fill, and says nothing in the others. Every entry is what somebody
said, word for word.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from lapel.slices.language_models.extractive.content_words import word_count
from lapel.slices.summaries.extraction.cues import (
    CUE_OF_FIELD,
    OVERVIEWS,
    PEOPLE,
    REPRESENTATIVE,
    has_cue,
)
from lapel.slices.summaries.extraction.sentence_choice import SentenceChoice, WeighedSentences
from lapel.slices.summaries.templates.builtin import BUILT_IN
from lapel.slices.summaries.writing.drafts import Draft, DraftEntry, fields_of, most_entries
from lapel.slices.summaries.writing.prompts import names_shape
from lapel.slices.summaries.writing.result import fault_of, values_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.slices.embeddings.service import Meanings
    from lapel.slices.summaries.extraction.cues import Cue
    from lapel.slices.summaries.templates.builtin import Template
    from lapel.slices.summaries.writing.drafts import TemplateField
    from lapel.slices.summaries.writing.turns import SpokenTurn

_OF_AN_OVERVIEW, _OF_A_LIST, _OF_A_PROMPT = 3, 8, 8
# A list has at most a third of the transcript's sentences. A task or a decision has so many words at least.
_SHARE, _FEWEST_WORDS = 3, 5
# Lists of tasks and decisions may be longer in long transcripts.
_MOST_OF_A_CUE = 20


class NeedsModel(Exception):
    """The template asks for what sentences cannot say. The message names the remedy."""


class ExtractiveWriter:
    """Makes one summary."""

    def __init__(self, template: Template, turns: Sequence[SpokenTurn], meanings: Meanings | None) -> None:
        """`turns`: the sentences of the transcript."""
        self._template = template
        self._turns = turns
        self._all = [turn.index for turn in turns]
        self._meanings = meanings
        self._statements = self._all

    async def write(self) -> Draft:
        """The summary. Raises NeedsModel when sentences cannot fill what the template requires."""
        choice = await self._choice()
        if self._template.id is None:
            return await self._of_prompt(choice)
        fields: dict[str, list[DraftEntry] | DraftEntry | None] = {}
        for field in fields_of(self._template):
            fields[field.name] = await self._field(field, choice)
        draft = Draft(fields)
        fault = fault_of(values_of(draft, self._template), self._template)
        if fault is not None:
            raise NeedsModel(
                "This template needs a language model, and none is configured for this provider. Without "
                f"one, sentences of the transcript fill the fields, and not this one: {fault}. Configure "
                "a language model, or let the schema allow that the field is empty."
            )
        return draft

    async def overview(self) -> DraftEntry:
        """The most representative sentences, as one text."""
        choice = await self._choice()
        return self._joined(await choice.representative(_OF_AN_OVERVIEW, self._statements))

    async def _choice(self) -> SentenceChoice:
        texts = [turn.text for turn in self._turns]
        questions = set(await asyncio.to_thread(self._with_cue, "question"))
        self._statements = [at for at in self._all if at not in questions] or self._all
        weighed = await asyncio.to_thread(WeighedSentences, texts)
        return SentenceChoice(texts, weighed, self._meanings)

    async def _of_prompt(self, choice: SentenceChoice) -> Draft:
        if names_shape(self._template.instructions):
            raise NeedsModel(
                "A prompt that describes JSON needs a language model, and none is configured for this "
                "provider."
            )
        places = await choice.nearest(self._template.instructions, self._at_most(_OF_A_PROMPT))
        if not places:
            places = await choice.representative(self._at_most(_OF_A_PROMPT), self._statements)
        places = places or self._all[:_OF_AN_OVERVIEW]
        lines = [f"- {self._labelled(self._turns[place])}" for place in places]
        return Draft({"content": DraftEntry("\n".join(lines), list(places))})

    async def _field(
        self, field: TemplateField, choice: SentenceChoice
    ) -> list[DraftEntry] | DraftEntry | None:
        cue = CUE_OF_FIELD.get(field.name)
        found = [] if cue is None else await asyncio.to_thread(self._with_cue, cue)
        if field.kind == "list":
            if field.items.get("type") != "string" or field.items.keys() & {"enum", "const"}:
                return []
            most = most_entries(field)
            if field.name in PEOPLE:
                return self._people()[:most]
            if cue is not None:
                return self._entries(await choice.representative(min(_MOST_OF_A_CUE, most), found))
            if field.name in REPRESENTATIVE:
                return self._entries(
                    await choice.representative(min(self._at_most(_OF_A_LIST), most), self._statements)
                )
            return self._entries(await choice.nearest(_about(field), min(self._at_most(_OF_A_LIST), most)))
        if field.kind != "text":
            return None
        if field.name in OVERVIEWS:
            return self._joined(await choice.representative(_OF_AN_OVERVIEW, self._statements))
        if found:
            return self._joined(await choice.representative(_OF_AN_OVERVIEW, found))
        if self._template.id in BUILT_IN or field.may_be_missing:
            return None
        places = await choice.nearest(_about(field), _OF_AN_OVERVIEW)
        return self._joined(places) if places else None

    def _with_cue(self, cue: Cue) -> list[int]:
        fewest = 0 if cue == "question" else _FEWEST_WORDS
        return [
            at
            for at in self._all
            if has_cue(self._turns[at].text, cue) and word_count(self._turns[at].text) >= fewest
        ]

    def _at_most(self, number: int) -> int:
        """So many sentences, but only a share of a short transcript."""
        return min(number, max(1, len(self._all) // _SHARE))

    def _people(self) -> list[DraftEntry]:
        first: dict[str, int] = {}
        for at in self._all:
            speaker = self._turns[at].speaker
            if speaker is not None:
                first.setdefault(speaker, at)
        return [DraftEntry(speaker, [place]) for speaker, place in first.items()]

    def _entries(self, places: Sequence[int]) -> list[DraftEntry]:
        return [DraftEntry(self._turns[place].text, [place]) for place in places]

    def _joined(self, places: Sequence[int]) -> DraftEntry:
        places = places or self._all[:_OF_AN_OVERVIEW] or [0]
        return DraftEntry(" ".join(self._turns[place].text for place in places), list(places))

    @staticmethod
    def _labelled(turn: SpokenTurn) -> str:
        return turn.text if turn.speaker is None else f"{turn.speaker}: {turn.text}"


def _about(field: TemplateField) -> str:
    """What a field of a project's template is about, in words."""
    name = field.name.replace("_", " ").replace("-", " ")
    return f"{name} {cast('str', field.schema.get('description', ''))}"
