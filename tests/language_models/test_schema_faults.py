"""The words for a JSON value that does not match a schema."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from lapel.slices.language_models.schema_faults import describe_fault


def of(schema: dict[str, Any]) -> dict[str, Any]:
    """An object with one property."""
    return {"type": "object", "properties": {"a": schema}}


@pytest.mark.parametrize(
    ("schema", "value", "told"),
    [
        (of({"type": "integer"}), {"a": None}, "`a` must be a whole number, and is null"),
        (of({"type": ["string", "null"]}), {"a": ["Jane"]}, "`a` must be a text or null, and is a list"),
        (of({"type": "boolean"}), {"a": 1.5}, "`a` must be true or false, and is a number"),
        (
            of({"enum": ["good", "bad", None]}),
            {"a": " "},
            '`a` must be "good", "bad" or null, and is an empty text',
        ),
        (of({"const": "ä"}), {"a": True}, '`a` must be "ä", and is true'),
        (of({"type": "array", "minItems": 1}), {"a": []}, "`a` must have at least 1 entry"),
        (of({"type": "array", "maxItems": 0}), {"a": [1]}, "`a` must have at most 0 entries"),
        (of({"type": "string", "minLength": 2}), {"a": "J"}, "`a` must have at least 2 characters"),
        (of({"type": "number", "exclusiveMaximum": 0.5}), {"a": 1}, "`a` must be less than 0.5"),
        (
            of({"type": "array", "items": of({"type": "object"})}),
            {"a": [{}, {"a": 1}]},
            "`a[1].a` must be an object, and is a number",
        ),
        ({"type": "object"}, [], "The JSON value must be an object, and is a list"),
        ({**of({}), "required": ["a", "b"]}, {}, "The JSON value must have `a`, `b`"),
        (
            {**of({}), "additionalProperties": False},
            {"a": 1, "more": 2},
            "The JSON value has fields that the schema does not name: `more`",
        ),
        (of({"not": {}}), {"a": 1}, "`a` does not match `not` of the schema"),
        (of({"enum": list(range(30))}), {"a": 30}, None),
    ],
)
def test_a_fault_names_the_field_and_what_is_allowed(
    schema: dict[str, Any], value: object, told: str | None
) -> None:
    said = describe_fault(faults(schema, value)[0])
    assert said == told or (told is None and said.endswith("18, 19 and 10 more, and is a number"))
    for word in ("None", "True", "Jane", "()", "is not of type"):
        assert word not in said


def faults(schema: dict[str, Any], value: object) -> list[ValidationError]:
    """All faults of a value."""
    validator: Any = Draft202012Validator(schema)
    return list(validator.iter_errors(value))
