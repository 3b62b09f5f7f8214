"""The output of a summary: the fields of its template, and the evidence beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec

from lapel.slices.language_models.extractive.content_words import content_of
from lapel.slices.language_models.extractive.number_words import numbers_said
from lapel.slices.language_models.service import describe_fault
from lapel.slices.summaries.templates.schema_check import RESERVED, allows_null
from lapel.slices.summaries.writing.drafts import DraftEntry, fields_of, storable_value, words_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.http.input.fields import JsonObject
    from lapel.slices.summaries.templates.builtin import Template
    from lapel.slices.summaries.writing.drafts import Draft
    from lapel.slices.summaries.writing.turns import SpokenTurn


def values_of(draft: Draft, template: Template) -> JsonObject:
    """The fields of the template, without evidence. A text that is missing although it must be there is
    empty; the caller validates the output."""
    output: JsonObject = {}
    for field in fields_of(template):
        entry = draft.fields.get(field.name)
        if isinstance(entry, list):
            output[field.name] = [each.value for each in entry]
        elif entry is not None:
            output[field.name] = entry.value
        elif field.kind == "list":
            output[field.name] = []
        elif allows_null(field.schema):
            output[field.name] = None
        elif field.required:
            output[field.name] = "" if field.kind == "text" else None
    return output


def shape_output(draft: Draft) -> JsonObject:
    """The JSON object in the content of a custom prompt's draft. Raises ValueError when it is none."""
    content = draft.fields["content"]
    text = str(content.value) if isinstance(content, DraftEntry) else ""
    text = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    try:
        shaped = msgspec.json.decode(text, type=dict[str, object])
        return cast("JsonObject", storable_value(shaped))  # JSON may name any character by its number
    except (msgspec.DecodeError, RecursionError) as fault:
        raise ValueError("`content.value` must be the text of one JSON object.") from fault


def with_evidence(output: JsonObject, draft: Draft, turns: Sequence[SpokenTurn]) -> JsonObject:
    """The output with the key `evidence`: for each field a list, with the times of each of its entries. The
    entry of a text is its first and only one. A key of the output with this name stays as it is."""
    if RESERVED in output:
        return output
    evidence: dict[str, list[list[dict[str, int]]]] = {}
    for name, entry in draft.fields.items():
        entries = entry if isinstance(entry, list) else [entry] if entry is not None else []
        evidence[name] = [_times(each, turns) for each in entries]
    return {**output, RESERVED: evidence}


def _times(entry: DraftEntry, turns: Sequence[SpokenTurn]) -> list[dict[str, int]]:
    """The times of an entry's turns, and of long turns the sentences with words of the entry; turns beside
    one another are one time."""
    times: list[dict[str, int]] = []
    text = words_of(entry.value)
    words, numbers = content_of(text).words, numbers_said(text)
    before = -2
    for index in sorted(set(entry.turns)):
        said = [
            each
            for each in turns[index].sentences
            if words & content_of(each.text).words or numbers & numbers_said(each.text)
        ] or [turns[index]]
        end_ms = max(each.end_ms for each in said)
        if index == before + 1:
            times[-1]["end_ms"] = max(times[-1]["end_ms"], end_ms)
        else:
            times.append({"start_ms": said[0].start_ms, "end_ms": end_ms})
        before = index
    return times


def fault_of(output: JsonObject, template: Template) -> str | None:
    """Why an output does not match the template's schema, as a sentence without stop; None if it does."""
    # Imported on demand: jsonschema takes 40 ms, and API processes need it for nothing else.
    from jsonschema import Draft202012Validator  # noqa: PLC0415

    errors = Draft202012Validator(cast("dict[str, object]", template.schema)).iter_errors(output)  # pyright: ignore[reportUnknownMemberType]
    fault = next(errors, None)
    return None if fault is None else describe_fault(fault)
