"""What the fields of a device's settings take, in every form of a write, and what is shown of older rows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lapel.foundation.ports import Ports
from tests.devices.conftest import Registry
from tests.support.dotted import at, within

STORE = "UPDATE devices SET settings = $3 WHERE world_id = $1 AND id = $2"
STORED = "SELECT settings FROM devices WHERE world_id = $1 AND id = $2"
OFF_PEAK = {"enabled": True, "start": "22:00", "end": "05:30", "timezone": "Europe/Zurich"}
# By field: what it takes, and what it does not.
FIELDS: dict[str, tuple[list[Any], list[Any]]] = {
    "audio.codec": (["opus", "aac", "wav"], ["mp3", "Opus", "", 1, True, []]),
    "audio.sample_rate": ([16000, 24000, 48000], [8000, 44100, 16001, "16000", 16000.5, True]),
    "audio.bitrate": ([8, 320], [7, 321, "64", 64.5, False]),
    "power.auto_sleep_minutes": ([0, 1440], [-1, 1441, "5", 0.5, True, {}]),
    "power.low_battery_threshold_percent": ([0, 100], [-1, 101, "5", 0.5, True]),
    "connection.enabled_connections.wifi": ([True, False], [1, "true", {}]),
    "connection.heartbeat_enabled_connections.cellular": ([True, False], [0, []]),
    "connection.upload_network_preference": (
        [["ble"], ["wifi", "ble", "cellular"]],
        [[], ["wifi"] * 4, "wifi"],
    ),
    "connection.power_management.wifi_idle_timeout_seconds": ([-1, 0, 10, 2540], [-2, 2541, "10", True]),
    "connection.enabled_connections": ([{"wifi": False}], [True, [], "wifi"]),
    "upload.streaming_enabled": ([True], ["yes", 1]),
    "upload.streaming_chunk_kb": ([64, 1024], [63, 1025]),
    "upload.streaming_flush_interval_seconds": ([0, 255], [-1, 256]),
    "upload.daily_data_limit_mb": ([0, 10000], [-1, 10001]),
    "upload.off_peak_hours": ([OFF_PEAK], [True, []]),
    "upload.off_peak_hours.start": (["00:00"], ["24:00", "7:00", 7]),
}
EVERYTHING = [(path, value) for path, (taken, _) in FIELDS.items() for value in taken]
REFUSED = [(path, value) for path, (_, refused) in FIELDS.items() for value in refused]


async def test_what_is_listed_is_taken_and_shown(registry: Registry) -> None:
    path = f"/devices/{await registry.device('TAKEN001')}"
    for field, value in EVERYTHING:
        sections = within(field, value)
        for method, suffix, body in (
            ("PATCH", "", {"settings": sections}),
            ("PUT", "/settings", sections),
            ("PATCH", "/settings", {"settings": sections}),
        ):
            answer = await registry.ask(method, f"{path}{suffix}", body)
            assert answer.status_code == 200, (field, value, answer.text)
            assert at(answer.json()["settings"], field) == value


async def test_what_is_not_is_refused_with_its_path_and_changes_nothing(registry: Registry) -> None:
    path = f"/devices/{await registry.device('WRONG002')}"
    await registry.ask("PATCH", path, {"settings": {"audio": {"codec": "aac"}}})
    before = await registry.get(path)
    for field, value in REFUSED:
        sections = within(field, value)
        for method, suffix, body, param in (
            ("PATCH", "", {"settings": sections}, f"settings.{field}"),
            ("PUT", "/settings", sections, field),
            ("PATCH", "/settings", {"settings": sections}, f"settings.{field}"),
        ):
            answer = await registry.ask(method, f"{path}{suffix}", body)
            assert answer.status_code == 400, (field, value, answer.text)
            error = answer.json()["error"]
            assert (error["code"], error["param"]) == ("invalid_request", param), value
    assert await registry.get(path) == before


async def test_a_wrong_entry_of_a_list_is_named(registry: Registry) -> None:
    path = f"/devices/{await registry.device('ENTRY001')}"
    wrong = {"connection": {"upload_network_preference": ["wifi", "lora"]}}
    answer = await registry.ask("PATCH", path, {"settings": wrong})
    param = "settings.connection.upload_network_preference[1]"
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    "unknown",
    [
        {"video": {"codec": "h264"}},
        {"video": 5},
        {"audio": {"gain": {"left": 1}, "codec.x": 1}},
        {"audio": {"gain": "x" * 17_000}, "power": {"": None}},
        {"connection": {"enabled_connections": {"ble": True}, "enabled_connections.wifi": False}},
        {"upload": {"off_peak_hours": {"days": [1]}}},
    ],
)
async def test_what_is_unknown_is_ignored_and_not_stored(
    registry: Registry, ports: Ports, unknown: dict[str, Any]
) -> None:
    device = await registry.device("UNKNOWN1")
    path = f"/devices/{device}"
    known = {"audio": {"codec": "aac"}}
    await registry.ask("PATCH", path, {"settings": known})
    for method, suffix, body in (
        ("PATCH", "", {"settings": unknown}),
        ("PATCH", "/settings", unknown),
        ("PATCH", "/settings", {"settings": unknown}),
        ("PUT", "/settings", unknown | {"audio": unknown.get("audio", {}) | known["audio"]}),
    ):
        answer = await registry.ask(method, f"{path}{suffix}", body)
        assert answer.status_code == 200, answer.text
        assert (await registry.get(path))["settings"] == known
        async with ports.database.acquire() as connection:
            stored = await connection.fetchval(STORED, registry.tenant.test_world, device)
        assert json.loads(stored) == known


async def test_one_to_nine_idle_seconds_become_ten(registry: Registry) -> None:
    path = f"/devices/{await registry.device('IDLE0001')}"
    for seconds in (1, 9):
        idle = {"power_management": {"wifi_idle_timeout_seconds": seconds}}
        answer = await registry.ask("PATCH", path, {"settings": {"connection": idle}})
        shown = answer.json()["settings"]["connection"]
        assert shown == {"power_management": {"wifi_idle_timeout_seconds": 10}}


async def test_off_peak_hours_are_there_as_a_whole_or_not_at_all(registry: Registry) -> None:
    path = f"/devices/{await registry.device('HOURS001')}"

    async def patch(hours: Any) -> Any:
        answer = await registry.ask("PATCH", path, {"settings": {"upload": {"off_peak_hours": hours}}})
        return answer.json()["settings"]

    begun = {"enabled": False, "start": "22:00", "end": "06:00", "timezone": "UTC"}
    assert await patch({"start": "22:00"}) == {"upload": {"off_peak_hours": begun}}
    assert await patch({"enabled": True}) == {"upload": {"off_peak_hours": begun | {"enabled": True}}}
    assert await patch(None) == {}


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ({"video": {"a": 1}, "audio": {"gain": 1, "codec": "opus"}}, {"audio": {"codec": "opus"}}),
        ({"audio": {"codec": "mp3", "bitrate": 9000}, "power": {"saver": True}}, {}),
        ({"audio": 5, "power": [], "upload": None, "connection": "x"}, {}),
        (
            {"connection": {"enabled_connections": [1], "upload_network_preference": ["lora"]}, "upload": {}},
            {},
        ),
        (
            {"connection": {"power_management": {"wifi_idle_timeout_seconds": 3, "x": 1}}},
            {"connection": {"power_management": {"wifi_idle_timeout_seconds": 10}}},
        ),
    ],
)
async def test_of_older_rows_only_what_is_known_and_valid_is_shown(
    registry: Registry, ports: Ports, stored: dict[str, Any], shown: dict[str, Any]
) -> None:
    device = await registry.device("BEFORE01")
    path = f"/devices/{device}"
    async with ports.database.acquire() as connection:
        await connection.execute(STORE, registry.tenant.test_world, device, json.dumps(stored))
    empty: dict[str, Any] = {"connection": {}, "upload": {}, "audio": {}, "power": {}}
    assert (await registry.get(path))["settings"] == shown
    assert (await registry.get(f"{path}/settings"))["settings"] == empty | shown
    assert (await registry.get("/devices"))["data"][0]["settings"] == shown
    person = (await registry.ask("POST", "/end-users")).json()["id"]
    bound = await registry.ask("POST", f"{path}/bind", {"end_user_id": person})
    assert bound.json()["settings"] == shown
    changed = await registry.ask("PATCH", path, {"settings": {"power": {"auto_sleep_minutes": 1}}})
    assert changed.json()["settings"] == shown | {"power": {"auto_sleep_minutes": 1}}
