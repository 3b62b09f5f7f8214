"""JSON Schemas of the sections, made from the table of sections."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lapel.slices.configuration.kinds import Schema
    from lapel.slices.configuration.sections import Section


def resolved_schema(section: Section) -> Schema:
    """The schema of a resolved value: every field is required, except fields that are shown only when set."""
    root = _tree(section, clearing=False)
    _require(root, {field.path for field in section.fields if not field.shown_unset}, "")
    for name in section.optional:
        root["properties"][name] = _nullable(root["properties"][name])
    return {"title": section.name, **root}


def change_schemas(section: Section) -> dict[str, Schema]:
    """The schemas of a write, by field of the body: every part is optional, and null clears it."""
    fields: dict[str, Schema] = _tree(section, clearing=True)["properties"]
    return {name: _nullable(each) if each.get("type") == "object" else each for name, each in fields.items()}


def set_schema(section: Section) -> Schema:
    """The schema of set values, as an answer shows them: every part is optional, and none is null."""
    root = _tree(section, clearing=False, unset=False)
    for name in section.optional:
        _require(root["properties"][name], set(), "")
    return root


def lenient_schema(section: Section) -> Schema:
    """The schema of a write that ignores unknown fields: every part is optional, and null clears it."""
    root = _tree(section, clearing=True, closed=False)
    fields: dict[str, Schema] = root["properties"]
    root["properties"] = {
        name: _nullable(each) if each.get("type") == "object" else each for name, each in fields.items()
    }
    return root


def _tree(section: Section, *, clearing: bool, unset: bool = True, closed: bool = True) -> Schema:
    root = _object(closed=closed)
    for field in section.fields:
        *groups, name = field.path.split(".")
        at = root
        for each in groups:
            at = at["properties"].setdefault(each, _object(closed=closed))
        schema = {**field.kind.schema, "description": field.description}
        at["properties"][name] = (
            _nullable(schema) if clearing or (unset and field.default is None) else schema
        )
    return root


def _object(*, closed: bool) -> Schema:
    return {"type": "object", "properties": {}, "additionalProperties": not closed}


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _require(schema: Schema, left_out: set[str], prefix: str) -> None:
    schema["required"] = [name for name in schema["properties"] if f"{prefix}{name}" not in left_out]
    for name, each in schema["properties"].items():
        if each.get("type") == "object":
            _require(each, left_out, f"{prefix}{name}.")
