"""The form in which a model writes a summary: every entry beside the turns that it comes from.

A model's answer has, for each field of the template, `{"value": …, "turns": […]}`, or a list of these. Two
parallel objects would say the same, but models lose count in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import msgspec

from lapel.foundation.http.input.text_lengths import utf16_units
from lapel.foundation.text_cleaning import storable
from lapel.slices.summaries.templates.builtin import LONGEST_TEXT, MOST_ENTRIES, closed_object
from lapel.slices.summaries.templates.schema_check import allows_null, model_schema, nullable, without_nulls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lapel.foundation.http.input.fields import JsonObject
    from lapel.slices.summaries.templates.builtin import Template

_TURNS: JsonObject = {
    "type": "array",
    "items": {"type": "integer"},
    "description": "The numbers `i` of the turns that say it, five at most.",
}


class DraftEntry(msgspec.Struct, frozen=True):
    """A value of a summary, and the turns that it comes from."""

    value: object
    turns: list[int]


class Draft(msgspec.Struct, frozen=True):
    """A summary as a model wrote it. A field of the template is a list of entries, or one entry; None: the
    transcript does not say it."""

    fields: dict[str, list[DraftEntry] | DraftEntry | None]


class TemplateField(msgspec.Struct, frozen=True):
    """A field of a template. `text`: a text of any words; `list`: a list; `value`: anything else."""

    name: str
    kind: Literal["text", "list", "value"]
    schema: dict[str, object]
    required: bool

    @property
    def may_be_missing(self) -> bool:
        """Whether the field may be null or left out."""
        return not self.required or allows_null(self.schema)

    @property
    def items(self) -> dict[str, object]:
        """The schema of an entry of a list."""
        return cast("dict[str, object]", self.schema.get("items", {}))


def fields_of(template: Template) -> list[TemplateField]:
    """The fields of a template, in order."""
    required = cast("list[str]", template.schema.get("required", []))
    properties = cast("dict[str, JsonObject]", template.schema["properties"])
    return [TemplateField(name, _kind(each), each, name in required) for name, each in properties.items()]


def _kind(schema: JsonObject) -> Literal["text", "list", "value"]:
    types: object = schema.get("type")
    kinds = cast("list[str]", types) if isinstance(types, list) else [types]
    if "array" in kinds:
        return "list"
    if "string" in kinds and not schema.keys() & {"enum", "const"}:
        return "text"
    return "value"


def draft_schema(template: Template) -> JsonObject:
    """The schema of a model's answer."""
    properties: JsonObject = {}
    for field in fields_of(template):
        if field.kind == "list":
            made: JsonObject = {"type": "array", "items": _entry(model_schema(field.items))}
        else:
            value = model_schema(field.schema)
            made = _entry(nullable(value) if field.may_be_missing else value)
        if "description" in field.schema:
            made["description"] = field.schema["description"]
        properties[field.name] = made
    return closed_object(properties)


def _entry(value: JsonObject) -> JsonObject:
    return closed_object({"value": value, "turns": _TURNS})


def draft_of(answer: object, template: Template) -> Draft:
    """The draft in a model's answer, which matches the schema. Blank and repeated entries are left out."""
    given = cast("Mapping[str, object]", answer)
    fields: dict[str, list[DraftEntry] | DraftEntry | None] = {}
    for field in fields_of(template):
        value = given[field.name]
        if field.kind == "list":
            fields[field.name] = _entries(cast("list[Mapping[str, object]]", value), field)
        else:
            fields[field.name] = _one(cast("Mapping[str, object]", value), field.schema)
    return Draft(fields)


def _one(given: Mapping[str, object], schema: JsonObject) -> DraftEntry | None:
    value = _clean(without_nulls(given["value"], schema))
    if value is None or value == "":
        return None
    return DraftEntry(value, cast("list[int]", given["turns"]))


def _entries(given: list[Mapping[str, object]], field: TemplateField) -> list[DraftEntry]:
    entries = [entry for each in given if (entry := _one(each, field.items)) is not None]
    return distinct(entries)[: most_entries(field)]


def most_entries(field: TemplateField) -> int:
    """The most entries of a list."""
    return min(cast("int", field.schema.get("maxItems", MOST_ENTRIES)), MOST_ENTRIES)


def distinct(entries: list[DraftEntry]) -> list[DraftEntry]:
    """The entries without repetitions of a value."""
    first: dict[bytes, DraftEntry] = {}
    for entry in entries:
        first.setdefault(msgspec.json.encode(entry.value).lower(), entry)
    return list(first.values())


def storable_value(value: object) -> object:
    """A JSON value whose texts and names have no characters that cannot be stored or shown."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [storable_value(each) for each in cast("list[object]", value)]
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        return {storable(name): storable_value(each) for name, each in members.items()}
    return value


def _clean(value: object) -> object:
    """A storable value; a text also without surrounding spaces, and not too long."""
    value = storable_value(value)
    if not isinstance(value, str):
        return value
    text = value.strip()
    return text if utf16_units(text) <= LONGEST_TEXT else text[: LONGEST_TEXT // 2].strip()


def words_of(value: object) -> str:
    """All texts in a value, joined."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " ".join(words_of(each) for each in cast("list[object]", value))
    if isinstance(value, dict):
        return " ".join(words_of(each) for each in cast("dict[str, object]", value).values())
    return ""


def text_of(draft: Draft) -> str:
    """All texts of a draft, joined."""
    parts: list[str] = []
    for entry in draft.fields.values():
        entries = entry if isinstance(entry, list) else [entry]
        parts += [words_of(each.value) for each in entries if each is not None]
    return "\n".join(parts)
