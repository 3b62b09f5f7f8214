"""Every field of every section as the contract lists it: what it takes, just within its bounds, is read back;
what is just outside is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.configuration.conftest import Fleet
from tests.support.dotted import at, within

BOOLEAN: tuple[list[Any], list[Any]] = ([True, False], [1, "true", [], {}])
DAYS: tuple[list[Any], list[Any]] = ([1, 36_500], [0, -1, 1.5, "1", True])
IDLE: tuple[list[Any], list[Any]] = ([-1, 0, 10, 11, 2540], [-2, 2541, 10.5, "10", True])
HOURS = {"enabled": True, "start": "00:00", "end": "23:59", "timezone": "Europe/Zurich"}
# By section and field: what is taken as it is, and what is refused. Written from the contract's table.
FIELDS: dict[str, dict[str, tuple[list[Any], list[Any]]]] = {
    "connection": {
        "enabled_connections.wifi": BOOLEAN,
        "enabled_connections.cellular": BOOLEAN,
        "heartbeat_enabled_connections.wifi": BOOLEAN,
        "heartbeat_enabled_connections.cellular": BOOLEAN,
        "upload_network_preference": (
            [["cellular", "ble", "wifi"], ["ble", "ble", "ble"]],
            [[], ["wifi"] * 4, ["lte"], ["WiFi"], "wifi", [1]],
        ),
        "power_management.wifi_idle_timeout_seconds": IDLE,
        "power_management.cellular_idle_timeout_seconds": IDLE,
    },
    "upload": {
        "streaming_enabled": BOOLEAN,
        "streaming_chunk_kb": ([64, 1024], [63, 1025, "64", 64.5, True]),
        "streaming_flush_interval_seconds": ([0, 255], [-1, 256]),
        "daily_data_limit_mb": ([0, 1, 10_000], [-1, 10_001]),
        "allow_roaming": BOOLEAN,
        "pause_on_low_battery": BOOLEAN,
        "off_peak_hours": ([HOURS, None], [True, [], "22:00", {"days": []}]),
        "off_peak_hours.enabled": BOOLEAN,
        "off_peak_hours.start": (["00:00", "23:59"], ["24:00", "12:60", "7:00", "07:00:00", "07:00\n", 7]),
        "off_peak_hours.end": (["00:00", "23:59"], ["24:00", "12:60", "7:00", "", 7]),
        "off_peak_hours.timezone": (
            ["UTC", "Etc/GMT+5", "America/Argentina/Buenos_Aires", "x" * 64, "a-b"],
            ["", "x" * 65, "a//b", "/a", "a/", "a b", "a.b", "UTC\n", "Zürich", 1],
        ),
    },
    "processing": {
        "auto_transcription.enabled": BOOLEAN,
        "auto_transcription.provider": (
            ["whisper", "deepgram", "assemblyai", "elevenlabs", None],
            ["gemini", "local", "", "Whisper", 1],
        ),
        "auto_transcription.language": (
            ["de", "de-CH", "zh-Hans-CN"],
            ["", "d", "german", "de_CH", "de-", "de\n", "zh-Hans-CN-x", 1, ["de"]],
        ),
        "languages": (
            [["de"], ["de", "es", "fr-CA"], ["es", "es"], ["de"] * 16],
            [[], ["de"] * 17, "de", {"de": True}, ["german"], [1], ["de", None]],
        ),
        "auto_summary.enabled": BOOLEAN,
        "auto_summary.provider": (["gemini", "openai", "claude", None], ["whisper", "local", ""]),
        "auto_summary.template": (["g", "tmpl_sales_call", "t" * 64], ["", "t" * 65, 1, []]),
        "auto_embedding.enabled": BOOLEAN,
        # Ours, as every time zone is.
        "time_zone": (["UTC", "Europe/Zurich", "x" * 64], ["", "x" * 65, "a//b", "a b", 1]),
        "second_reader": BOOLEAN,
        "auto_enhancement.enabled": BOOLEAN,
        "auto_enhancement.provider": (["cleanvoice"], ["whisper", "", 1]),
    },
    "ota": {
        "auto_update.enabled": BOOLEAN,
        "source": (["legacy", "service"], ["usb", "", "Service", 1]),
    },
    "upload_security": {
        "encrypted_upload_policy": (
            ["legacy_allowed", "v2_preferred", "v2_required"],
            ["v1", "", "V2_required", 2],
        ),
    },
    "retention": {"recordings_days": ([*DAYS[0], None], DAYS[1]), "audio_days": ([*DAYS[0], None], DAYS[1])},
}

LEFT_OUT_UNTIL_SET = {
    "auto_enhancement.provider",
    "auto_transcription.language",
    "languages",
    "time_zone",
    "second_reader",
}


def leaves(document: dict[str, Any], prefix: str = "") -> set[str]:
    """The dotted paths of a document's values."""
    found: set[str] = set()
    for name, value in document.items():
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}"}
    return found


@pytest.mark.parametrize("section", FIELDS)
async def test_what_is_just_within_its_bounds_is_read_back_and_what_is_outside_refused(
    fleet: Fleet, section: str
) -> None:
    path = f"{fleet.paths()['device']}/{section}"
    for field, (taken, refused) in FIELDS[section].items():
        for value in taken:
            made = await fleet.set("device", section, within(field, value))
            assert at(made["value"], field) == value, field
            assert type(at(made["value"], field)) is type(value), field
            assert await fleet.read("device", section) == made
        before = await fleet.read("device", section)
        for value in refused:
            error = (await fleet.ask("PATCH", path, within(field, value), status=400))["error"]
            assert error["code"] == "invalid_request"
            assert error["param"].startswith(field), (field, value)
        assert await fleet.read("device", section) == before, field


async def test_the_table_names_every_field_and_no_other(fleet: Fleet) -> None:
    told = (await fleet.ask("GET", "/v1/config/schema"))["data"]
    for each in told:
        fields = {name for name in FIELDS[each["section"]] if not name.startswith("off_peak_hours.")}
        assert leaves(each["defaults"]) == fields - LEFT_OUT_UNTIL_SET


async def test_null_puts_a_default_back_and_a_template_is_never_null(fleet: Fleet) -> None:
    change = {"auto_summary": {"template": "own", "provider": "claude"}}
    await fleet.set("device", "processing", {**change, "auto_enhancement": {"provider": "cleanvoice"}})
    nulls = {"auto_summary": {"template": None, "provider": None}, "auto_enhancement": {"provider": None}}
    value = (await fleet.set("device", "processing", nulls))["value"]
    assert value["auto_summary"] == {"enabled": False, "provider": None, "template": "general_notes"}
    assert value["auto_enhancement"] == {"enabled": False}


async def test_a_shorter_list_keeps_the_inherited_tail(fleet: Fleet) -> None:
    """The built-in list is the broadest level."""
    name = "upload_network_preference"
    seen: list[list[str]] = []
    for level, said in (("project", ["cellular"]), ("end_user", ["wifi", "wifi"]), ("device", ["ble"])):
        seen.append((await fleet.set(level, "connection", {name: said}))["value"][name])
    assert seen == [
        ["cellular", "ble", "cellular"],
        ["wifi", "wifi", "cellular"],
        ["ble", "wifi", "cellular"],
    ]


async def test_off_peak_hours_are_null_or_whole_over_all_levels(fleet: Fleet) -> None:
    await fleet.set("project", "upload", {"off_peak_hours": {"start": "22:00"}})
    await fleet.set("end_user", "upload", {"off_peak_hours": {"enabled": True}})
    made = await fleet.set("device", "upload", {"off_peak_hours": {"timezone": "Asia/Tokyo"}})
    assert made["value"]["off_peak_hours"] == {
        "enabled": True, "start": "22:00", "end": "06:00", "timezone": "Asia/Tokyo",
    }  # fmt: skip
    for level in ("device", "end_user", "project"):
        await fleet.set(level, "upload", {"off_peak_hours": None})
    assert (await fleet.read("device", "upload"))["value"]["off_peak_hours"] is None
