"""Answers name the level of each field, and warn where another level's value counts than one may expect."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from lapel.slices.configuration.device_settings import without_effect
from lapel.slices.configuration.kinds import Value
from lapel.slices.configuration.merging import resolve, sources
from lapel.slices.configuration.sections import LEVELS, Level, Section
from tests.configuration.conftest import Fleet
from tests.configuration.overrides import of_any_section, paths


async def test_each_field_has_the_level_that_it_comes_from(fleet: Fleet) -> None:
    await fleet.set("project", "upload", {"allow_roaming": True, "daily_data_limit_mb": 300})
    await fleet.set("end_user", "upload", {"pause_on_low_battery": False})
    shown = await fleet.set(
        "device", "upload", {"allow_roaming": False, "off_peak_hours": {"start": "22:00"}}
    )
    assert shown["source"] == "device"
    assert shown["sources"] == {
        "streaming_enabled": "default",
        "streaming_chunk_kb": "default",
        "streaming_flush_interval_seconds": "default",
        "daily_data_limit_mb": "project",
        "allow_roaming": "device",
        "pause_on_low_battery": "end_user",
        "off_peak_hours.enabled": "default",
        "off_peak_hours.start": "device",
        "off_peak_hours.end": "default",
        "off_peak_hours.timezone": "default",
    }
    assert "warnings" not in shown
    of_project = await fleet.read("project", "upload")
    assert of_project["sources"]["allow_roaming"] == "project"
    assert of_project["sources"]["off_peak_hours"] == "default"  # it is null


@given(of_any_section(4))
def test_the_paths_are_those_of_the_value_and_every_level_is_one_with_an_override(
    made: tuple[Section, list[dict[str, Value]]],
) -> None:
    section, every = made
    found: dict[Level, dict[str, Value]] = dict(zip(LEVELS, every, strict=True))
    value = resolve(section, found.values())
    named = sources(section, found, value)
    assert set(named) == paths(value)
    for path, level in named.items():
        assert (level == "default") == all(path not in override for override in every)
        if level != "default":
            assert path in found[level]


@pytest.mark.parametrize(
    ("section", "field", "strict", "lax"),
    [
        ("upload", "daily_data_limit_mb", 300, 500),
        ("upload", "daily_data_limit_mb", 300, 0),
        ("retention", "audio_days", 7, 30),
        ("upload_security", "encrypted_upload_policy", "v2_required", "v2_preferred"),
    ],
)
async def test_a_value_that_a_stricter_level_overrides_is_answered_with_a_warning(
    fleet: Fleet, section: str, field: str, strict: Any, lax: Any
) -> None:
    await fleet.set("project", section, {field: strict})
    shown = await fleet.set("device", section, {field: lax})
    assert (shown["value"][field], shown["source"], shown["sources"][field]) == (strict, "device", "project")
    (warning,) = shown["warnings"]
    assert warning["field"] == field
    for word in (f"`{section}.{field}`", str(strict), str(lax), "`project`", "`device`", "stricter"):
        assert word in warning["message"]
    await fleet.set("project", section, {field: lax})
    shown = await fleet.set("device", section, {field: strict})
    assert (shown["value"][field], shown["sources"][field]) == (strict, "device")
    assert "warnings" not in shown


@pytest.mark.parametrize(
    ("zone", "is_known"),
    [("Europe/Zurich", True), ("UTC", True), ("Etc/GMT+5", True), ("Mars/Phobos", False), ("Europe", False)],
)
async def test_a_time_zone_that_does_not_exist_is_answered_with_a_warning(
    fleet: Fleet, zone: str, is_known: bool
) -> None:
    """The contract takes every name of this form."""
    shown = await fleet.set("device", "upload", {"off_peak_hours": {"timezone": zone}})
    assert shown["value"]["off_peak_hours"]["timezone"] == zone
    told = [each["message"] for each in shown.get("warnings", [])]
    expected = f"`upload.off_peak_hours.timezone`: `{zone}` is no time zone of the IANA database"
    assert [each.startswith(expected) for each in told] == ([] if is_known else [True])


def test_the_settings_of_a_device_warn_of_a_time_zone_too() -> None:
    told = without_effect({"upload": {"off_peak_hours": {"timezone": "Mars/Phobos"}}})
    assert [each.field for each in told] == ["upload.off_peak_hours.timezone"]
