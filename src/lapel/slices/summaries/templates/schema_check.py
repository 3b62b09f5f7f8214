"""Checks the JSON Schema of a project's template, and converts it to the subset that language models take.

The check allows a list of keywords, and no other. So a schema has no references, no patterns, no conditions
and no alternatives, and neither its size nor the time of a validation can explode. Source: JSON Schema
2020-12.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, cast

import msgspec

from lapel.foundation.core.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from lapel.foundation.http.input.fields import JsonObject

MOST_BYTES = 32 * 1024
# Objects and lists in one another, with the outermost object. The models' schemas have one level more.
MOST_LEVELS = 4
MOST_PROPERTIES = 100
# Values of one `enum`, and the longest of them.
MOST_CHOICES, LONGEST_CHOICE = 100, 200
# The key that has the times on which a summary rests.
RESERVED = "evidence"

_TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
# Numbers that both bounds and counts may have.
_LARGEST = 10**15
# Of values that are only kept. Many clients' JSON parsers refuse a page that is nested more than 64 levels
# deep.
_MOST_NESTED = 16
_TEXTS = ("title", "description", "$comment")
_IGNORED = ("$schema", "$id", "default", "examples", "format", "deprecated", "readOnly", "writeOnly")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_KNOWN = {
    *_TEXTS, *_IGNORED, *_COUNTS, *_BOUNDS, "type", "properties", "required", "additionalProperties", "items",
    "enum", "const",
}  # fmt: skip
_REASONS = {
    "$ref": "References are not allowed: write the schema out.",
    "$dynamicRef": "References are not allowed: write the schema out.",
    "$defs": "References are not allowed: write the schema out.",
    "definitions": "References are not allowed: write the schema out.",
    "pattern": "Patterns are not allowed: say in `description` what the text looks like.",
    "patternProperties": "Patterns are not allowed: name the properties.",
}


def check_schema(schema: JsonObject) -> bytes:
    """The JSON text to store. Raises InvalidRequest, which names the place, if the schema is not allowed."""
    try:
        encoded = msgspec.json.encode(schema)
    except RecursionError as error:
        raise _refused("schema", f"It is nested more than {MOST_LEVELS} levels deep.") from error
    if len(encoded) > MOST_BYTES:
        raise _refused("schema", f"It takes more than {MOST_BYTES} bytes as JSON.")
    if schema.get("type") != "object" or not schema.get("properties"):
        raise _refused("schema", "It must be an object (`type` is `object`) with `properties`.")
    _Check().walk(schema, "schema", 1)
    properties = cast("JsonObject", schema["properties"])
    if RESERVED in properties:
        raise _refused(f"schema.properties.{RESERVED}", "The server writes this property.")
    return encoded


def _fits(value: object, levels: int) -> bool:
    """Whether objects and lists are nested at most so deep."""
    if isinstance(value, dict):
        inner = list(cast("JsonObject", value).values())
    elif isinstance(value, list):
        inner = cast("list[object]", value)
    else:
        return True
    return levels > 0 and all(_fits(each, levels - 1) for each in inner)


class _Check:
    """One walk over a schema."""

    def __init__(self) -> None:
        self._properties = 0

    def walk(self, schema: object, at: str, level: int) -> None:
        if not isinstance(schema, dict):
            raise _refused(at, "A schema must be an object.")
        known = cast("JsonObject", schema)
        for keyword in known:
            if keyword not in _KNOWN:
                shown = keyword[:64]
                raise _refused(at, _REASONS.get(keyword, f"The keyword `{shown}` is not allowed."))
        types = _types(known, at)
        _check_values(known, at)
        if types & {"object", "array"}:
            if level > MOST_LEVELS:
                raise _refused(at, f"It is nested more than {MOST_LEVELS} levels deep.")
            if known.keys() & {"enum", "const"}:
                raise _refused(at, "Objects and lists have no `enum` and no `const`.")
        if "object" in types:
            self._object(known, at, level)
        elif known.keys() & {"properties", "required", "additionalProperties"}:
            raise _refused(at, "Only an object has properties.")
        if "array" in types:
            if "items" not in known:
                raise _refused(at, "A list needs `items`.")
            self.walk(known["items"], f"{at}.items", level + 1)
        elif "items" in known:
            raise _refused(at, "Only a list has `items`.")

    def _object(self, schema: JsonObject, at: str, level: int) -> None:
        properties: object = schema.get("properties")
        if not isinstance(properties, dict) or not properties:
            raise _refused(at, "An object needs `properties`.")
        named = cast("JsonObject", properties)
        self._properties += len(named)
        if self._properties > MOST_PROPERTIES:
            raise _refused(at, f"There are more than {MOST_PROPERTIES} properties.")
        for name in named:
            if not _NAME.match(name):
                raise _refused(
                    f"{at}.properties", "Names of properties have 1 to 64 of the characters A-Z a-z 0-9 _ -."
                )
        required: object = schema.get("required", [])
        if not isinstance(required, list) or not all(
            isinstance(each, str) and each in named for each in cast("list[object]", required)
        ):
            raise _refused(f"{at}.required", "It must be a list of names of properties.")
        if schema.get("additionalProperties", False) is not False:
            raise _refused(f"{at}.additionalProperties", "Only false is allowed.")
        for name, each in named.items():
            self.walk(each, f"{at}.properties.{name}", level + 1)


def _types(schema: JsonObject, at: str) -> set[str]:
    """The types that a schema allows. A second type may only be null."""
    given: object = schema.get("type")
    if given is None and ("enum" in schema or "const" in schema):
        return {"string"}
    types = cast("list[object]", given) if isinstance(given, list) else [given]
    found = {each for each in types if isinstance(each, str)}
    if len(found) != len(types) or not found <= _TYPES or not found:
        raise _refused(at, "`type` must be one of object, array, string, number, integer, boolean.")
    if len(found - {"null"}) != 1:
        raise _refused(at, "`type` must be one type, or one type and `null`.")
    return found


def _check_values(schema: JsonObject, at: str) -> None:
    for keyword in _TEXTS:
        if not isinstance(schema.get(keyword, ""), str):
            raise _refused(f"{at}.{keyword}", "It must be a text.")
    for keyword in _IGNORED:
        if not _fits(schema.get(keyword), _MOST_NESTED):
            raise _refused(f"{at}.{keyword}", f"It is nested more than {_MOST_NESTED} levels deep.")
    for keyword in _COUNTS:
        value: object = schema.get(keyword, 0)
        if type(value) is not int or not 0 <= value <= _LARGEST:
            raise _refused(f"{at}.{keyword}", "It must be a whole number, 0 or more.")
    for keyword in _BOUNDS:
        value = schema.get(keyword, 0)
        if type(value) not in (int, float) or not -_LARGEST <= cast("float", value) <= _LARGEST:
            raise _refused(f"{at}.{keyword}", "It must be a number.")
    if "enum" in schema:
        _check_choices(schema["enum"], f"{at}.enum")
    if "const" in schema:
        _check_choices([schema["const"]], f"{at}.const")
    _check_satisfiable(schema, at)


def _check_satisfiable(schema: JsonObject, at: str) -> None:
    """Raises InvalidRequest if no value matches the bounds, or none of the choices matches the rest."""
    for least, most in (("minLength", "maxLength"), ("minItems", "maxItems")):
        if cast("int", schema.get(least, 0)) > cast("int", schema.get(most, _LARGEST)):
            raise _refused(f"{at}.{least}", f"It is more than `{most}`, so no value matches.")
    low, is_open_low = _tightest(schema, "minimum", "exclusiveMinimum", max)
    high, is_open_high = _tightest(schema, "maximum", "exclusiveMaximum", min)
    if "integer" in str(schema.get("type")):
        low = math.floor(low) + 1 if is_open_low else math.ceil(low)
        high = math.ceil(high) - 1 if is_open_high else math.floor(high)
        is_open_low = is_open_high = False
    if low > high or (low == high and (is_open_low or is_open_high)):
        place = "minimum" if "minimum" in schema else "exclusiveMinimum"
        raise _refused(f"{at}.{place}", "No number lies between it and the largest that is allowed.")
    if "enum" in schema or "const" in schema:
        choices = cast("list[object]", schema.get("enum", [schema.get("const")]))
        if not any(_matches(each, schema) for each in choices):
            place = "enum" if "enum" in schema else "const"
            raise _refused(f"{at}.{place}", "It has no value that the rest of the schema allows.")


def _tightest(
    schema: JsonObject, closed: str, opened: str, choose: Callable[[float, float], float]
) -> tuple[float, bool]:
    """The tighter one of two bounds, and whether the bound itself is outside."""
    none = -_LARGEST if choose is max else _LARGEST
    inside = cast("float", schema.get(closed, none))
    outside = cast("float", schema.get(opened, none))
    return choose(inside, outside), opened in schema and choose(inside, outside) == outside


def _matches(value: object, schema: JsonObject) -> bool:
    """Whether a text, number, boolean or null matches a schema, whose keywords have passed their checks."""
    # Imported on demand, because most processes never check a template.
    from jsonschema import Draft202012Validator  # noqa: PLC0415

    validator: Any = Draft202012Validator(schema)
    return bool(validator.is_valid(value))


def _check_choices(choices: object, at: str) -> None:
    if not isinstance(choices, list) or not 1 <= len(cast("list[object]", choices)) <= MOST_CHOICES:
        raise _refused(at, f"It must be a list of 1 to {MOST_CHOICES} values.")
    for each in cast("list[object]", choices):
        if isinstance(each, str):
            if len(each) > LONGEST_CHOICE:
                raise _refused(at, f"A value has more than {LONGEST_CHOICE} characters.")
        elif each is not None and not isinstance(each, (bool, int, float)):
            raise _refused(at, "Values must be texts, numbers, booleans or null.")


def _refused(at: str, reason: str) -> InvalidRequest:
    param = at if len(at) <= 200 else f"{at[:200]}…"
    return InvalidRequest(f"`{param}`: {reason}", param=param, reason=reason)


def model_schema(schema: JsonObject) -> JsonObject:
    """The schema in the subset of language models: closed objects, all properties required, no bounds.

    A property that the schema does not require may be null. `schema` has passed `check_schema`.
    """
    types = schema.get("type")
    kinds = cast("list[str]", types) if isinstance(types, list) else [types]
    made: JsonObject = {}
    if "description" in schema:
        made["description"] = schema["description"]
    if "enum" in schema or "const" in schema:
        made["enum"] = schema.get("enum") or [schema["const"]]
        if types is not None:
            made["type"] = types
        return made
    made["type"] = types
    if "object" in kinds:
        required = cast("list[str]", schema.get("required", []))
        properties = cast("dict[str, JsonObject]", schema["properties"])
        made["properties"] = {
            name: model_schema(each) if name in required else nullable(model_schema(each))
            for name, each in properties.items()
        }
        made["required"] = list(properties)
        made["additionalProperties"] = False
    if "array" in kinds:
        made["items"] = model_schema(cast("JsonObject", schema["items"]))
    return made


def nullable(schema: JsonObject) -> JsonObject:
    """The schema, with null allowed too."""
    made, types = dict(schema), schema.get("type")
    if types is not None:
        kinds = cast("list[str]", types) if isinstance(types, list) else [cast("str", types)]
        made["type"] = kinds if "null" in kinds else [*kinds, "null"]
    choices = cast("list[object] | None", schema.get("enum"))
    if choices is not None and None not in choices:
        made["enum"] = [*choices, None]
    return made


def without_nulls(value: object, schema: JsonObject) -> object:
    """The model's value, without the nulls of properties that are not required and may not be null."""
    if isinstance(value, list):
        items = cast("JsonObject", schema.get("items", {}))
        return [without_nulls(each, items) for each in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    properties = cast("dict[str, JsonObject]", schema.get("properties", {}))
    required = cast("list[str]", schema.get("required", []))
    return {
        name: without_nulls(each, properties.get(name, {}))
        for name, each in cast("dict[str, object]", value).items()
        if each is not None or name in required or allows_null(properties.get(name, {}))
    }


def allows_null(schema: JsonObject) -> bool:
    """Whether null is a value of the schema."""
    types: object = schema.get("type")
    if "enum" in schema:
        return None in cast("list[object]", schema["enum"])
    return types == "null" or (isinstance(types, list) and "null" in cast("list[object]", types))
