"""Drops what the transcript does not support from a draft."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from lapel.slices.embeddings.service import cosines
from lapel.slices.language_models.extractive.content_words import content_words
from lapel.slices.language_models.extractive.text_links import links_in
from lapel.slices.summaries.writing.drafts import Draft, DraftEntry, fields_of, words_of
from lapel.slices.summaries.writing.entry_reading import EntryReader, ReadableEntry
from lapel.slices.summaries.writing.link_removal import text_without_links, value_without_links
from lapel.slices.summaries.writing.prompts import names_shape
from lapel.slices.summaries.writing.result import shape_output
from lapel.slices.summaries.writing.turn_support import Support

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from lapel.slices.claims.service import ClaimReader
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

    def __init__(
        self, support: Support, meanings: Meanings | None, reader: ClaimReader | None = None
    ) -> None:
        self._support = support
        self._meanings = meanings
        self._reader = None if reader is None else EntryReader(reader, support)

    @classmethod
    async def of(
        cls, turns: Sequence[SpokenTurn], meanings: Meanings | None, reader: ClaimReader | None = None
    ) -> Checker:
        """The checker of a transcript. `reader`: the second reader, if there is one."""
        return cls(await asyncio.to_thread(Support, turns), meanings, reader)

    async def keep_supported(self, draft: Draft, template: Template) -> CheckedDraft:
        """The draft without what the transcript does not support. The turns of the rest do support it."""
        # The owner's own instructions may name a place that the summary is to link to.
        schema = msgspec.json.encode(template.schema).decode()
        links = self._support.links | links_in(f"{template.instructions}\n{schema}")
        if template.id is None:  # it may ask for another language, or for other words
            checked = await asyncio.to_thread(self._of_prompt, draft, template, links)
            return await self._without_contradictions(checked, template)
        # In a thread, because a draft may have hundreds of entries, each with numbers in words.
        by_words = await asyncio.to_thread(self._all_by_words, draft, template, links)
        doubtful = [
            entry
            for name, entries in _lists(draft).items()
            for entry, found in zip(entries, by_words[name], strict=True)
            if found is None and links_in(words_of(entry.value)) <= links
        ]
        may_be_near = await asyncio.to_thread(self._may_be_near, doubtful)
        near = await self._by_meaning(may_be_near)
        unsure = {} if self._reader is None else {id(entry): turns for entry, _, turns in may_be_near}
        supported: dict[str, list[tuple[DraftEntry, bool]]] = {}
        for name, entries in _lists(draft).items():
            supported[name] = []
            for entry, words in zip(entries, by_words[name], strict=True):
                sure = near.get(id(entry)) if words is None else words
                turns = unsure.get(id(entry)) if sure is None else sure
                if turns is not None:
                    supported[name].append((DraftEntry(entry.value, turns), sure is not None))
        kept, left_out = await self._read(supported, template)
        checked = Draft(
            {
                name: found if isinstance(draft.fields[name], list) else next(iter(found), None)
                for name, found in kept.items()
            }
        )
        return CheckedDraft(checked, _count(draft) - sum(map(len, supported.values())) + left_out)

    async def _read(
        self, supported: Mapping[str, Sequence[tuple[DraftEntry, bool]]], template: Template
    ) -> tuple[dict[str, list[DraftEntry]], int]:
        """The entries that a second reader finds supported, too, and how many it does not; a judgement and a
        word of the schema are no claims."""
        fields = {field.name: field for field in fields_of(template)}
        kept = {name: [entry for entry, _ in entries] for name, entries in supported.items()}
        if self._reader is None:
            return kept, 0
        left_out = 0
        for name, entries in supported.items():
            field = fields[name]
            readable = [
                ReadableEntry(field, entry, is_sure) for entry, is_sure in entries if _is_claim(entry.value)
            ]
            if name in template.judged or not readable:
                continue
            read = await self._reader.keep_supported(readable)
            left = {id(each.entry): found.entry for each, found in zip(readable, read, strict=True)}
            kept[name] = [found for entry, _ in entries if (found := left.get(id(entry), entry)) is not None]
            left_out += sum(each.left_out for each in read)
        return kept, left_out

    async def _without_contradictions(self, checked: CheckedDraft, template: Template) -> CheckedDraft:
        """A prompt's text without the sentences that the transcript contradicts: the others may be a
        greeting, or a proposal that the prompt asks for."""
        content = checked.draft.fields["content"]
        if self._reader is None or not isinstance(content, DraftEntry) or names_shape(template.instructions):
            return checked
        (field,) = fields_of(template)
        (read,) = await self._reader.keep_supported([ReadableEntry(field, content, True, prose=True)])
        return CheckedDraft(Draft({"content": read.entry}), checked.left_out + read.left_out)

    def _of_prompt(self, draft: Draft, template: Template, links: AbstractSet[str]) -> CheckedDraft:
        """The draft of a prompt without links that nobody said."""
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

    async def _by_meaning(self, entries: Sequence[tuple[DraftEntry, str, list[int]]]) -> dict[int, list[int]]:
        """The turns that are near in meaning to entries which share few words with them, by the entries'
        identities. `entries`: each with its text and its turns."""
        found: dict[int, list[int]] = {}
        if self._meanings is None:
            return found
        for entry, text, turns in entries:
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


def _is_claim(value: object) -> bool:
    """Whether a value says something in words: a number or a switch alone does not."""
    return bool(words_of(value).strip())


def _count(draft: Draft) -> int:
    return sum(map(len, _lists(draft).values()))


def _lists(draft: Draft) -> dict[str, list[DraftEntry]]:
    return {
        name: entry if isinstance(entry, list) else [entry] if entry is not None else []
        for name, entry in draft.fields.items()
    }
