"""What is missing in a summary: fields for which nothing was found, and entries that nothing supports."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lapel.slices.summaries.wire import SummaryWarning
from lapel.slices.summaries.writing.prompts import names_shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lapel.foundation.http.input.fields import JsonObject
    from lapel.slices.summaries.templates.builtin import Template

_MOST_NAMES, _LONGEST_NAME = 100, 64


def is_empty(value: object) -> bool:
    """Whether a value says nothing: null, a blank text, or a list or an object of such values."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, list):
        return all(map(is_empty, cast("list[object]", value)))
    if isinstance(value, dict):
        return all(map(is_empty, cast("dict[str, object]", value).values()))
    return value is None


def warnings_of(values: JsonObject, template: Template, left_out: int) -> list[SummaryWarning]:
    """The warnings of a summary with these values, without evidence. `left_out`: how many entries were left
    out, because the transcript does not support them."""
    warnings = [
        SummaryWarning(
            code="empty_field",
            message=f"`{name}` is empty: nothing was found for it in the transcript.",
            field=name,
        )
        for name in _list_empty(values, template)
    ]
    if left_out:
        entries = "1 entry was" if left_out == 1 else f"{left_out} entries were"
        warnings.append(
            SummaryWarning(
                code="unsupported_entries_left_out",
                message=f"{entries} left out, because the transcript does not support what the model wrote.",
                count=left_out,
            )
        )
    return warnings


def _list_empty(values: JsonObject, template: Template) -> list[str]:
    """The fields that should have a value and have none: those that the schema requires at any depth, by
    their path, or those of a prompt's object."""
    if template.id is None and names_shape(template.instructions):  # a model chose these names
        names = [each for each in values if len(each) <= _LONGEST_NAME][:_MOST_NAMES]
        return [name for name in names if is_empty(values[name])]
    return list(dict.fromkeys(_find_empty(template.schema, values, "")))


def _find_empty(schema: JsonObject, value: object, path: str) -> Iterator[str]:
    """The paths of required members that are empty, in the order of the schema. Entries of one list share
    their path. `path`: of `value`, with a point at its end."""
    if isinstance(value, list):
        for each in cast("list[object]", value):
            yield from _find_empty(cast("JsonObject", schema.get("items", {})), each, path)
    elif isinstance(value, dict):
        members, required = cast("JsonObject", value), cast("list[str]", schema.get("required", []))
        for name, inner in cast("dict[str, JsonObject]", schema.get("properties", {})).items():
            if not is_empty(members.get(name)):
                yield from _find_empty(inner, members[name], f"{path}{name}.")
            elif name in required:
                yield f"{path}{name}"
