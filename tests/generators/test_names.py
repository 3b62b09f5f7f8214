"""The document has nothing that generators of clients stumble over; test_generators.py runs three of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.support.declared import described_api

# What generators know: a time, and a text that they leave as it is.
FORMATS = {"date-time", "uri"}
CHOICES = ("anyOf", "oneOf", "allOf")


def schemas_in(value: object, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of the document, with its path."""
    if isinstance(value, dict):
        yield path, value
        for name, each in value.items():
            if name not in ("example", "examples", "value"):
                yield from schemas_in(each, f"{path}/{name}")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from schemas_in(each, f"{path}/{index}")


def class_name(*words: str) -> str:
    """The class that a generator makes of a component, or of a property of one."""
    parts = re.split(r"[^A-Za-z0-9]+", "_".join(words))
    return "".join(each[:1].upper() + each[1:] for each in parts)


def own_types(name: str, schema: dict[str, Any]) -> Iterator[str]:
    """The classes that a generator makes of what a property declares in place, without a reference."""
    if "enum" in schema or schema.get("type") == "object":
        yield name
    for choice in CHOICES:
        for number, each in enumerate(schema.get(choice, [])):
            yield from own_types(f"{name}Type{number}", each)
    if isinstance(schema.get("items"), dict):
        yield from own_types(f"{name}Item", schema["items"])


def test_formats_are_known() -> None:
    formats = {
        each["format"]: path
        for path, each in schemas_in(described_api())
        if isinstance(each.get("format"), str) and "type" in each
    }
    assert set(formats) == FORMATS, formats


def test_no_alternatives_stand_beside_properties() -> None:
    mixed = [
        path
        for path, each in schemas_in(described_api()["components"]["schemas"])
        if isinstance(each.get("properties"), dict) and any(name in each for name in CHOICES)
    ]
    assert mixed == []


def test_no_choice_is_between_booleans() -> None:
    choices = [
        (path, each["enum"])
        for path, each in schemas_in(described_api())
        if isinstance(each.get("enum"), list)
    ]
    assert choices
    assert [path for path, words in choices if any(isinstance(word, bool) for word in words)] == []


def test_no_two_classes_have_one_name() -> None:
    components: dict[str, Any] = described_api()["components"]["schemas"]
    made = [class_name(name) for name in components]
    for name, schema in components.items():
        for field, described in schema.get("properties", {}).items():
            made += own_types(class_name(name, field), described)
    assert len(made) > len(components)
    assert [name for name, count in Counter(made).items() if count > 1] == []
