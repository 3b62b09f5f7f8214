"""What is accepted and not obeyed is said in the schema and in a warning; every other field is obeyed."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import lapel
from lapel.slices.configuration.section_schemas import resolved_schema
from lapel.slices.configuration.sections import SECTIONS, Field, Section
from lapel.slices.configuration.views import warnings_of
from tests.configuration.conftest import Fleet
from tests.configuration.test_contract_table import FIELDS
from tests.support.dotted import at, within

SOURCE = Path(lapel.__file__).parent
EVERY = [(section, field) for section in SECTIONS.values() for field in section.fields]
OBEYED = [pair for pair in EVERY if not pair[1].without_effect]
NOT_OBEYED = [pair for pair in EVERY if pair[1].without_effect]
# Written by hand, so that what begins to have an effect, or loses it, is noticed.
WITHOUT_EFFECT = {
    "upload.streaming_enabled",
    "upload.streaming_chunk_kb",
    "upload.streaming_flush_interval_seconds",
    "processing.auto_enhancement.enabled",
    "processing.auto_enhancement.provider",
}


def named(each: object) -> str | None:
    return each.path if isinstance(each, Field) else each.name if isinstance(each, Section) else None


@cache
def constants() -> dict[str, set[str]]:
    """By file: the words that its code has as constants. A constant with SQL gives the words of the SQL."""
    found: dict[str, set[str]] = {}
    for path in (SOURCE / "slices").rglob("*.py"):
        if "configuration" not in path.parts:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            texts = [
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            ]
            found[str(path)] = {word.strip("'") for text in texts for word in text.replace(",", " ").split()}
    return found


def readers(section: Section, field: Field) -> list[str]:
    """The files of other slices whose code names each part of a field's path."""
    wanted = {*field.path.split(".")}
    if len(wanted) == 1 and section.obeyed_by == "device":
        wanted.add(section.name)  # a name such as `source` is not the configuration's alone
    return [file for file, words in constants().items() if wanted <= words]


def other(field: Field) -> Any:
    """A valid value that is not the field's default."""
    if field.default is None:
        return field.kind.schema["enum"][0]
    return not field.default if isinstance(field.default, bool) else field.kind.schema["maximum"]


def test_the_fields_without_effect_are_these() -> None:
    assert {f"{section.name}.{field.path}" for section, field in NOT_OBEYED} == WITHOUT_EFFECT


@pytest.mark.parametrize(("section", "field"), OBEYED, ids=named)
def test_code_of_the_server_reads_what_the_server_obeys(section: Section, field: Field) -> None:
    assert bool(readers(section, field)) == (section.obeyed_by == "server"), readers(section, field)


@pytest.mark.parametrize(("section", "field"), NOT_OBEYED, ids=named)
async def test_a_value_without_effect_is_answered_with_a_warning(
    fleet: Fleet, section: Section, field: Field
) -> None:
    assert readers(section, field) == []
    schema = at(resolved_schema(section), f"properties.{field.path.replace('.', '.properties.')}")
    assert "No effect yet" in str(schema)
    made = await fleet.set("project", section.name, within(field.path, other(field)))
    assert [each["field"] for each in made["warnings"]] == [field.path]
    assert f"`{section.name}.{field.path}`" in made["warnings"][0]["message"]
    assert "No effect yet" in made["warnings"][0]["message"]
    assert (await fleet.read("device", section.name))["warnings"] == made["warnings"]
    everything = (await fleet.ask("GET", fleet.paths()["end_user"]))["data"]
    assert {name for name, each in everything.items() if "warnings" in each} == {section.name}
    back = await fleet.set("project", section.name, within(field.path, field.default))
    assert "warnings" not in back


def test_a_value_with_an_effect_is_answered_without_a_warning() -> None:
    for section, field in OBEYED:
        for value in FIELDS[section.name][field.path][0]:
            told = warnings_of(section, {field.path: value} if value is not None else {})
            assert [each for each in told if "IANA" not in each.message] == []


async def test_settings_of_a_device_warn_in_the_same_way(fleet: Fleet) -> None:
    path = f"/v1/devices/{fleet.device}/settings"
    made = await fleet.ask("PATCH", path, {"upload": {"streaming_enabled": True, "allow_roaming": True}})
    assert [each["field"] for each in made["warnings"]] == ["upload.streaming_enabled"]
    again = await fleet.ask("PUT", path, made)  # an answer may be sent back
    assert again["warnings"] == made["warnings"]
    assert "warnings" not in await fleet.ask("PATCH", path, {"upload": {"streaming_enabled": False}})
