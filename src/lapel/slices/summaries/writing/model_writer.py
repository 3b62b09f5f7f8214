"""Writes a summary with a language model: at once, or by parts if the transcript is longer than the
window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from lapel.slices.language_models.extractive.text_language import language_of, names_a_language
from lapel.slices.language_models.service import (
    Message,
    ModelFailed,
    Prompt,
    estimated_tokens,
    structured,
)
from lapel.slices.summaries.templates.builtin import BUILT_IN
from lapel.slices.summaries.writing import prompts
from lapel.slices.summaries.writing.drafts import (
    Draft,
    DraftEntry,
    distinct,
    draft_of,
    draft_schema,
    fields_of,
    most_entries,
    text_of,
)
from lapel.slices.summaries.writing.result import fault_of, shape_output, values_of

if TYPE_CHECKING:
    from lapel.slices.language_models.service import LanguageModel
    from lapel.slices.summaries.templates.builtin import Template
    from lapel.slices.summaries.writing.checking import Checker
    from lapel.slices.summaries.writing.turns import SpokenTurn

# The most tokens of an answer, and of the transcript in one call. Models overlook more in longer texts.
_MOST_ANSWER, _MOST_DATA = 6_000, 100_000
# The least tokens of a window that are left for the transcript.
_LEAST_DATA = 300
# Tokens for the markers, the roles, and what the model is told before a second try.
_MARGIN = 400

_T = TypeVar("_T")


class Parts(Protocol):
    """Keeps what a model wrote about parts, so that a killed worker's work is not paid for twice."""

    async def read(self, name: str) -> bytes | None:
        """What was written about a part; None if nothing was."""
        ...

    async def write(self, name: str, result: bytes) -> None:
        """Keep what was written about a part."""
        ...


class UnkeptParts:
    """Keeps nothing, for work that is done at once."""

    async def read(self, name: str) -> bytes | None:
        """Nothing."""
        del name

    async def write(self, name: str, result: bytes) -> None:
        """Does nothing."""
        del name, result


class Written(msgspec.Struct, frozen=True):
    """A checked draft, and the model that wrote it. `left_out`: how many entries the transcript does not
    support."""

    draft: Draft
    model: str
    left_out: int = 0


class _TurnSpan(msgspec.Struct, frozen=True):
    """The turns of a part: the first and the last one. `level`: how many times it was joined of parts."""

    level: int
    first: int
    last: int

    @property
    def name(self) -> str:
        """The name of the part. In a later try, the window and so the parts may be others: the same name
        means the same turns."""
        return f"{self.level}/{self.first}-{self.last}"


class _WrittenPart(msgspec.Struct, frozen=True):
    """What a model wrote about some turns."""

    span: _TurnSpan
    written: Written

    def notes(self) -> list[str]:
        """Its entries as lines of data."""
        return prompts.note_lines(self.written.draft)


class ModelWriter:
    """Writes one summary with one model."""

    def __init__(
        self, model: LanguageModel, template: Template, checker: Checker, parts: Parts, language: str | None
    ) -> None:
        """`language`: primary tag of the transcript's language, if it is known."""
        self._model = model
        self._template = template
        self._checker = checker
        self._parts = parts
        self._language = language
        self._schema = draft_schema(template)
        self._is_shaped = template.id is None and prompts.names_shape(template.instructions)

    async def write(self, turns: Sequence[SpokenTurn]) -> Written:
        """The summary of a transcript.

        Raises ModelFailed and ModelAway as the model does; ModelFailed also when the window is too small, or
        when the answer stays wrong.
        """
        # Alone, a turn has its speaker's label, which it needs at most once in a part.
        sizes = [estimated_tokens(prompts.turn_lines([turn])[0]) for turn in turns]
        groups = grouped(range(len(turns)), lambda at: sizes[at], self._room("transcript"))
        if len(groups) == 1:
            return await self._call(prompts.turn_lines(turns), "transcript", None)
        drafts = [
            await self._part(
                _TurnSpan(0, group[0], group[-1]),
                prompts.turn_lines(turns[group[0] : group[-1] + 1]),
                "transcript",
                (number, len(groups)),
            )
            for number, group in enumerate(groups, 1)
        ]
        return await self._join(drafts, level=1)

    async def _join(self, drafts: list[_WrittenPart], level: int) -> Written:
        """One summary of the summaries of parts; of several levels, if they do not fit into one call."""
        room = self._room("notes")
        groups = grouped(drafts, lambda each: sum(map(estimated_tokens, each.notes())), room)
        if len(groups) == len(drafts) > 1:  # no two fit into one call
            if self._is_shaped:  # the texts of several JSON objects are no JSON object
                raise ModelFailed(
                    "context",
                    f"The window of {self._model.context_tokens} tokens is too small to join two parts of a "
                    "summary into one JSON object. Use a model with a larger window.",
                )
            together = _side_by_side([each.written.draft for each in drafts], self._template)
            return Written(together, drafts[-1].written.model, _count_left_out(drafts))
        joined = [group[0] if len(group) == 1 else await self._joined(group, level) for group in groups]
        return joined[0].written if len(joined) == 1 else await self._join(joined, level + 1)

    async def _joined(self, group: Sequence[_WrittenPart], level: int) -> _WrittenPart:
        lines = [line for each in group for line in each.notes()]
        span = _TurnSpan(level, group[0].span.first, group[-1].span.last)
        joined = (await self._part(span, lines, "notes", None)).written
        left_out = joined.left_out + _count_left_out(group)
        return _WrittenPart(span, Written(joined.draft, joined.model, left_out))

    async def _part(
        self, span: _TurnSpan, lines: Sequence[str], data: prompts.Data, part: tuple[int, int] | None
    ) -> _WrittenPart:
        kept = await self._parts.read(span.name)
        if kept is not None:
            return _WrittenPart(span, msgspec.json.decode(kept, type=Written))
        written = await self._call(lines, data, part)
        await self._parts.write(span.name, msgspec.json.encode(written))
        return _WrittenPart(span, written)

    async def _call(self, lines: Sequence[str], data: prompts.Data, part: tuple[int, int] | None) -> Written:
        prompt = Prompt(
            instructions=prompts.rules_for(self._template, data, language=self._language, part=part),
            messages=[Message(role="user", text=prompts.message(lines, data))],
            max_tokens=self._answer(),
            schema=self._schema,
            name="summary",
        )
        draft, generated = await structured(self._model, prompt, self._checked)
        checked = await self._checker.keep_supported(draft, self._template)
        return Written(checked.draft, generated.model, checked.left_out)

    def _checked(self, answer: object) -> Draft:
        """The draft in an answer that matches the schema. Raises ValueError, which tells the model why the
        answer is not good enough."""
        draft = draft_of(answer, self._template)
        fault = fault_of(values_of(draft, self._template), self._template)
        if fault is not None and self._template.id not in BUILT_IN:
            raise ValueError(f"{fault}.")
        if self._is_shaped:
            shape_output(draft)
        self._check_language(draft)
        return draft

    def _check_language(self, draft: Draft) -> None:
        if self._template.id not in BUILT_IN and names_a_language(self._template.instructions):
            return
        written = language_of(text_of(draft))
        if self._language is not None and written is not None and written != self._language:
            raise ValueError(
                f"The answer is in another language than the conversation. Write it in the language with the "
                f"tag {self._language!r}."
            )

    def _answer(self) -> int:
        return min(_MOST_ANSWER, self._model.context_tokens // 4)

    def _room(self, data: prompts.Data) -> int:
        """Tokens of a window that are left for the data: a second try has the first answer in it too."""
        rules = prompts.rules_for(self._template, data, language=self._language, part=(100, 100))
        fixed = estimated_tokens(rules) + estimated_tokens(msgspec.json.encode(self._schema).decode())
        room = self._model.context_tokens - fixed - 2 * self._answer() - _MARGIN
        if room < _LEAST_DATA:
            raise ModelFailed(
                "context",
                f"The window of {self._model.context_tokens} tokens is too small for this template and a "
                "transcript. Use a shorter template, or a model with a larger window.",
            )
        return min(room, _MOST_DATA)


def grouped(items: Sequence[_T], size: Callable[[_T], int], room: int) -> list[list[_T]]:
    """The items in groups, in order, each group with a size of at most `room`. A larger item is alone."""
    groups: list[list[_T]] = [[]]
    left = room
    for item in items:
        needed = size(item) + 1
        if groups[-1] and needed > left:
            groups.append([])
            left = room
        groups[-1].append(item)
        left -= needed
    return groups


def _count_left_out(parts: Sequence[_WrittenPart]) -> int:
    return sum(each.written.left_out for each in parts)


def _side_by_side(drafts: Sequence[Draft], template: Template) -> Draft:
    """The entries of all drafts, for a window in which no two drafts fit."""
    fields: dict[str, list[DraftEntry] | DraftEntry | None] = {}
    for field in fields_of(template):
        found = [draft.fields[field.name] for draft in drafts]
        lists = [each for one in found if isinstance(one, list) for each in one]
        ones = [one for one in found if isinstance(one, DraftEntry)]
        if field.kind == "list":
            fields[field.name] = distinct(lists)[: most_entries(field)]
        elif field.kind == "text" and ones:
            text = "\n\n".join(str(each.value) for each in ones)
            fields[field.name] = DraftEntry(text[:5_000], [turn for each in ones for turn in each.turns][:5])
        else:
            fields[field.name] = ones[-1] if ones else None
    return Draft(fields)
