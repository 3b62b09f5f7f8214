"""Says in words why a JSON value does not match a schema: which field, what is allowed, what it is instead.

The message names no value, because a value may have words of a recording.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jsonschema import ValidationError

_KINDS = {
    "object": "an object",
    "array": "a list",
    "string": "a text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "null",
}
_MOST_CHOICES, _LONGEST_PLACE = 20, 200
# What the value of each keyword asks for.
_DEMANDS: dict[str, Callable[[object], str]] = {
    "type": lambda kinds: (
        f"must be {_choices([_KINDS.get(str(each), str(each)) for each in _listed(kinds)])}"
    ),
    "enum": lambda values: f"must be {_choices([_json(each) for each in _listed(values)])}",
    "const": lambda value: f"must be {_json(value)}",
    "minLength": lambda least: f"must have at least {_counted(least, 'character')}",
    "maxLength": lambda most: f"must have at most {_counted(most, 'character')}",
    "minItems": lambda least: f"must have at least {_counted(least, 'entry', 'entries')}",
    "maxItems": lambda most: f"must have at most {_counted(most, 'entry', 'entries')}",
    "minimum": lambda least: f"must be at least {least}",
    "maximum": lambda most: f"must be at most {most}",
    "exclusiveMinimum": lambda bound: f"must be more than {bound}",
    "exclusiveMaximum": lambda bound: f"must be less than {bound}",
}
_OF_KIND = ("type", "enum", "const")


def describe_fault(fault: ValidationError) -> str:
    """A sentence without its full stop, such as "`grade` must be a whole number, and is null"."""
    place, keyword = _place(fault.absolute_path), str(fault.validator)
    wanted = cast("object", fault.validator_value)
    if keyword == "required":
        given = cast("dict[str, object]", fault.instance)
        missing = [str(each) for each in _listed(wanted) if each not in given]
        return f"{place} must have {_named(missing)}"
    if keyword == "additionalProperties":
        known = cast("dict[str, dict[str, object]]", fault.schema).get("properties", {})
        more = [each for each in cast("dict[str, object]", fault.instance) if each not in known]
        return f"{place} has fields that the schema does not name: {_named(more)}"
    if keyword not in _DEMANDS:
        return f"{place} does not match `{keyword}` of the schema"
    demand = f"{place} {_DEMANDS[keyword](wanted)}"
    kind = _kind(cast("object", fault.instance))
    return f"{demand}, and is {kind}" if keyword in _OF_KIND else demand


def _place(path: Sequence[str | int]) -> str:
    if not path:
        return "The JSON value"
    parts = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in path)
    return f"`{parts.removeprefix('.')[:_LONGEST_PLACE]}`"


def _listed(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else [value]


def _choices(words: list[str]) -> str:
    shown = words[:_MOST_CHOICES]
    if len(words) > len(shown):
        return f"one of {', '.join(shown)} and {len(words) - len(shown)} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_CHOICES} more" if len(names) > _MOST_CHOICES else ""
    return ", ".join(f"`{each[:_LONGEST_PLACE]}`" for each in names[:_MOST_CHOICES]) + more


def _counted(number: object, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "a text" if value.strip() else "an empty text"
    if isinstance(value, (int, float)):
        return "a number"
    return "a list" if isinstance(value, list) else "an object"
