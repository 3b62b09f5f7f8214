"""Makes the output of a summary, from the transcript's segments to the JSON that is stored."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from lapel.slices.claims.service import reader_of
from lapel.slices.language_models.extractive.content_words import word_count
from lapel.slices.language_models.extractive.text_language import language_of
from lapel.slices.language_models.service import EXTRACTIVE
from lapel.slices.summaries.extraction.extractive_writer import ExtractiveWriter, NeedsModel
from lapel.slices.summaries.writing.checking import Checker
from lapel.slices.summaries.writing.drafts import Draft, fields_of
from lapel.slices.summaries.writing.model_writer import ModelWriter
from lapel.slices.summaries.writing.prompts import names_shape
from lapel.slices.summaries.writing.result import fault_of, shape_output, values_of, with_evidence
from lapel.slices.summaries.writing.summary_warnings import is_empty, warnings_of
from lapel.slices.summaries.writing.turns import sentences_as_turns, turns_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.http.input.fields import JsonObject
    from lapel.slices.embeddings.service import Meanings
    from lapel.slices.language_models.service import LanguageModel
    from lapel.slices.summaries.templates.builtin import Template
    from lapel.slices.summaries.wire import Code, SummaryWarning
    from lapel.slices.summaries.writing.model_writer import Parts
    from lapel.slices.summaries.writing.turns import SpokenTurn
    from lapel.slices.transcription.service import Segment

_FEWEST_WORDS = 3
# Seconds for a call of the second reader: it reads several entries, and nobody waits.
_READING_PATIENCE = 180.0
# The most fields that the message of a failure names, and the most characters of a name.
_MOST_NAMED, _LONGEST_NAME = 10, 64
# The largest output that is stored.
_MOST_BYTES = 900 * 1024


class SummaryFailed(Exception):
    """The summary has failed for good. Users see `code` and the message, which names the remedy."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code: Code = code
        self.message = message


class MadeSummary(msgspec.Struct, frozen=True):
    """The output, as JSON for answers, the model that wrote it, and what is missing."""

    output: bytes
    model: str
    warnings: list[SummaryWarning]


async def make_summary(
    model: LanguageModel | None,
    template: Template,
    segments: Sequence[Segment],
    language: str | None,
    *,
    parts: Parts,
    meanings: Meanings | None,
    second_reader: bool | None = None,
) -> MadeSummary:
    """The summary of a transcript. `model` None: the extractive engine makes it. `second_reader`: see
    `reader_of`.

    Raises SummaryFailed; ModelFailed when the model fails, ModelAway when another try may succeed.
    """
    if sum(word_count(segment.text) for segment in segments) < _FEWEST_WORDS:
        raise SummaryFailed("transcript_too_short", "The transcript has fewer than three words.")
    if model is None:
        return await _extracted(template, segments, meanings)
    turns = await asyncio.to_thread(turns_of, segments)
    checker = await Checker.of(turns, meanings, reader_of(model, second_reader, patience=_READING_PATIENCE))
    spoken = language_of(" ".join(turn.text for turn in turns[:400])) or _primary(language)
    written = await ModelWriter(model, template, checker, parts, spoken).write(turns)
    draft = await _completed(written.draft, template, turns, meanings)
    return _finish(draft, template, turns, written.model, written.left_out)


async def _extracted(
    template: Template, segments: Sequence[Segment], meanings: Meanings | None
) -> MadeSummary:
    turns = await asyncio.to_thread(sentences_as_turns, segments)
    try:
        draft = await ExtractiveWriter(template, turns, meanings).write()
    except NeedsModel as error:
        raise SummaryFailed("processing_error", str(error)) from error
    return _finish(draft, template, turns, EXTRACTIVE, 0)


async def _completed(
    draft: Draft, template: Template, turns: Sequence[SpokenTurn], meanings: Meanings | None
) -> Draft:
    """The draft with a text in `overview`: if the transcript does not support the model's, its own sentences
    are it."""
    missing = [field for field in fields_of(template) if draft.fields[field.name] is None]
    if all(field.name != "overview" or field.may_be_missing for field in missing):
        return draft
    overview = await ExtractiveWriter(template, turns, meanings).overview()
    return Draft({**draft.fields, "overview": overview})


def _finish(
    draft: Draft, template: Template, turns: Sequence[SpokenTurn], model: str, left_out: int
) -> MadeSummary:
    """The summary with evidence. Raises SummaryFailed when nothing was found for the template."""
    values = _values(draft, template)
    if is_empty(values):
        names = list(values) or [each.name for each in fields_of(template)]
        raise _fail_without_content(names, model, left_out)
    output = _encoded(with_evidence(values, draft, turns))
    return MadeSummary(output, model, warnings_of(values, template, left_out))


def _fail_without_content(fields: Sequence[str], model: str, left_out: int) -> SummaryFailed:
    named = ", ".join(f"`{each[:_LONGEST_NAME]}`" for each in fields[:_MOST_NAMED])
    more = f" and {len(fields) - _MOST_NAMED} more" if len(fields) > _MOST_NAMED else ""
    if model == EXTRACTIVE:
        return SummaryFailed(
            "processing_error",
            f"No sentence of the transcript fills a field of this template ({named}{more}). It needs a "
            "language model, and none is configured for this provider. Configure one, or use a "
            "template with a text `overview`: sentences always fill it.",
        )
    dropped = f"; {left_out} unsupported entries of the model were left out" if left_out else ""
    return SummaryFailed(
        "provider_error",
        f"The language model found nothing in the transcript for this template ({named}{more}){dropped}.",
    )


def _values(draft: Draft, template: Template) -> JsonObject:
    """The fields of the output. Raises SummaryFailed when what is supported does not match the template."""
    if template.id is None and draft.fields["content"] is None:
        raise SummaryFailed("provider_error", "The model's answer is not about the conversation.")
    output = values_of(draft, template)
    if template.id is None and names_shape(template.instructions):
        output = shape_output(draft)
    elif (fault := fault_of(output, template)) is not None:
        raise SummaryFailed(
            "provider_error",
            f"The transcript does not say what the template requires: {fault}. Let the schema allow that the "
            "field is empty, or use another template.",
        )
    return output


def _encoded(output: JsonObject) -> bytes:
    encoded = msgspec.json.encode(output)
    if len(encoded) > _MOST_BYTES:
        raise SummaryFailed("provider_error", f"The summary has more than {_MOST_BYTES} bytes.")
    return encoded


def _primary(language: str | None) -> str | None:
    return None if language is None else language.partition("-")[0].lower()
