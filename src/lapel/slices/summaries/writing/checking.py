"""Drops what the transcript does not support from a draft."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from lapel.slices.embeddings.service import cosines
from lapel.slices.language_models.extractive.content_words import content_words
from lapel.slices.language_models.extractive.text_links import links_in
from lapel.slices.summaries.writing.drafts import Draft, DraftEntry, fields_of, words_of
from lapel.slices.summaries.writing.link_removal import text_without_links, value_without_links
from lapel.slices.summaries.writing.prompts import names_shape
from lapel.slices.summaries.writing.result import shape_output
from lapel.slices.summaries.writing.turn_support import Support

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from lapel.slices.embeddings.service import Meanings
    from lapel.slices.summaries.templates.builtin import Template
    from lapel.slices.summaries.writing.drafts import TemplateField
    from lapel.slices.summaries.writing.turns import SpokenTurn

# The least product of the vectors of an entry and of a turn that supports it, and the fewest content words of
# such an entry: short texts are near to everything. With the embedding model, free paraphrases have products
# from 0.84 on, and texts about other things up to 0.83.
_NEAR, _FEWEST_WORDS = 0.85, 3
# Words for a judgement of the mood, in the languages of the interface of templates.
_MOODS = frozenset(
    """
    positive negative neutral mixed skeptical sceptical interested hesitant enthusiastic
    positiv negativ gemischt skeptisch interessiert zurückhaltend begeistert
    positivo positiva negativo negativa neutro mixto escéptico interesado
    positif positive négatif négative neutre mitigé sceptique intéressé
    积极 消极 中性 中立 正面 负面 混合
    """.split()  # noqa: SIM905 - a list of words
)


class CheckedDraft(msgspec.Struct, frozen=True):
    """What the transcript supports of a draft. `left_out`: how many entries, or sentences of a prompt's text,
    it does not support."""

    draft: Draft
    left_out: int


class Checker:
    """Checks drafts against one transcript."""

    def __init__(self, support: Support, meanings: Meanings | None) -> None:
        self._support = support
        self._meanings = meanings

    @classmethod
    async def of(cls, turns: Sequence[SpokenTurn], meanings: Meanings | None) -> Checker:
        """The checker of a transcript."""
        return cls(await asyncio.to_thread(Support, turns), meanings)

    async def keep_supported(self, draft: Draft, template: Template) -> CheckedDraft:
        """The draft without what the transcript does not support. The turns of the rest do support it."""
        # The owner's own instructions may name a place that the summary is to link to.
        schema = msgspec.json.encode(template.schema).decode()
        links = self._support.links | links_in(f"{template.instructions}\n{schema}")
        if template.id is None:  # it may ask for another language, or for other words
            return await asyncio.to_thread(self._of_prompt, draft, template, links)
        # Numbers take up to 11 ms each, and a draft may have hundreds.
        by_words = await asyncio.to_thread(self._all_by_words, draft, template, links)
        doubtful = [
            entry
            for name, entries in _lists(draft).items()
            for entry, found in zip(entries, by_words[name], strict=True)
            if found is None and links_in(words_of(entry.value)) <= links
        ]
        near = await self._by_meaning(doubtful)
        kept: dict[str, list[DraftEntry] | DraftEntry | None] = {}
        for name, entries in _lists(draft).items():
            found = [
                DraftEntry(entry.value, turns)
                for entry, words in zip(entries, by_words[name], strict=True)
                if (turns := near.get(id(entry)) if words is None else words) is not None
            ]
            is_list = isinstance(draft.fields[name], list)
            kept[name] = found if is_list else next(iter(found), None)
        checked = Draft(kept)
        return CheckedDraft(checked, _count(draft) - _count(checked))

    def _of_prompt(self, draft: Draft, template: Template, links: AbstractSet[str]) -> CheckedDraft:
        """The draft of a prompt without links that nobody said; nothing else of it is checked."""
        content = draft.fields["content"]
        if not isinstance(content, DraftEntry):
            return CheckedDraft(draft, 0)
        if names_shape(template.instructions):
            value, left_out = value_without_links(shape_output(draft), links)
            text = msgspec.json.encode(value).decode()
        else:
            text, left_out = text_without_links(str(content.value), links)
        turns = self._support.valid(content.turns)
        kept = DraftEntry(text, turns) if text.strip() else None
        return CheckedDraft(Draft({"content": kept}), left_out)

    def _all_by_words(
        self, draft: Draft, template: Template, links: AbstractSet[str]
    ) -> dict[str, list[list[int] | None]]:
        """The turns that support each entry by its words; None for an entry without such turns."""
        fields = {field.name: field for field in fields_of(template)}
        return {
            name: [
                self._by_words(entry, fields[name], template)
                if links_in(words_of(entry.value)) <= links
                else None
                for entry in entries
            ]
            for name, entries in _lists(draft).items()
        }

    def _by_words(self, entry: DraftEntry, field: TemplateField, template: Template) -> list[int] | None:
        text, turns = words_of(entry.value), self._support.valid(entry.turns)
        if field.name in template.judged or not text.strip():
            is_mood = not text or set(text.casefold().strip(" .").split()) <= _MOODS
            return turns if turns and is_mood else self._support.by_words(text, entry.turns) if text else None
        if field.kind == "value" and not isinstance(entry.value, (dict, list)):  # one of the schema's words
            return turns or None
        return self._support.by_words(text, entry.turns)

    async def _by_meaning(self, entries: Sequence[DraftEntry]) -> dict[int, list[int]]:
        """The turns that are near in meaning to entries which share few words with them, by the entries'
        identities."""
        found: dict[int, list[int]] = {}
        if self._meanings is None:
            return found
        for entry, text, turns in await asyncio.to_thread(self._may_be_near, entries):
            said = [self._support.turns[each].text for each in turns]
            vectors = await self._meanings.sentences([text, *said])
            if vectors is None:
                return found
            if any(each >= _NEAR for each in cosines(vectors)):
                found[id(entry)] = turns
        return found

    def _may_be_near(self, entries: Sequence[DraftEntry]) -> list[tuple[DraftEntry, str, list[int]]]:
        """The entries whose meaning counts, with their texts and the turns that they name."""
        found: list[tuple[DraftEntry, str, list[int]]] = []
        for entry in entries:
            turns, text = self._support.valid(entry.turns), words_of(entry.value)
            if (
                turns
                and len(set(content_words(text))) >= _FEWEST_WORDS
                and self._support.numbers_were_said(text, turns)
            ):
                found.append((entry, text, turns))
        return found


def _count(draft: Draft) -> int:
    return sum(map(len, _lists(draft).values()))


def _lists(draft: Draft) -> dict[str, list[DraftEntry]]:
    return {
        name: entry if isinstance(entry, list) else [entry] if entry is not None else []
        for name, entry in draft.fields.items()
    }
