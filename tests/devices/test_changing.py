"""PATCH of a device, and its settings in both forms."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.devices.conftest import Registry
from tests.support.tenants import Tenant

SECTIONS = ("connection", "upload", "audio", "power")
EMPTY: dict[str, Any] = {name: {} for name in SECTIONS}


async def test_what_is_given_changes_and_the_rest_stays(registry: Registry) -> None:
    device = await registry.device("PATCH001", name="Desk", firmware_version="1.0.0", metadata={"a": 1})
    path = f"/devices/{device}"
    before = await registry.get(path)
    assert (await registry.ask("PATCH", path, {})).json() == before
    changed = (await registry.ask("PATCH", path, {"name": "Door", "unknown": 1})).json()
    assert changed.pop("updated_at") > before.pop("updated_at")
    assert changed == before | {"name": "Door"}
    changed = (await registry.ask("PATCH", path, {"metadata": {"b": 2}, "firmware_version": "1.1.0"})).json()
    assert (changed["name"], changed["metadata"], changed["firmware_version"]) == ("Door", {"b": 2}, "1.1.0")
    cleared = await registry.ask("PATCH", path, {"name": None, "metadata": None, "firmware_version": None})
    assert cleared.status_code == 200
    assert cleared.json() == await registry.get(path)
    assert [cleared.json()[name] for name in ("name", "metadata", "firmware_version")] == [None, {}, None]


@pytest.mark.parametrize("name", ["", " ", "  two  ", "\n", "🎙" * 64, "n" * 128, "e\u0301 é", "<b>&amp;"])
async def test_a_name_is_kept_exactly(registry: Registry, name: str) -> None:
    device = await registry.device("NAMED001")
    answer = await registry.ask("PATCH", f"/devices/{device}", {"name": name})
    assert (answer.status_code, answer.json()["name"]) == (200, name)
    assert (await registry.get(f"/devices/{device}"))["name"] == name


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": "n" * 129}, "name"),
        ({"name": "🎙" * 64 + "x"}, "name"),
        ({"name": 1}, "name"),
        ({"name": "a\0"}, "name"),
        ({"firmware_version": "v" * 65}, "firmware_version"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"x": "y" * 17_000}}, "metadata"),
        ({"settings": 1}, "settings"),
        ({"settings": {"audio": 5}}, "settings.audio"),
        ({"settings": {"audio": []}}, "settings.audio"),
    ],
)
async def test_a_wrong_value_is_named_and_changes_nothing(
    registry: Registry, body: dict[str, Any], param: str
) -> None:
    device = await registry.device("WRONG001", name="Desk")
    before = await registry.get(f"/devices/{device}")
    answer = await registry.ask("PATCH", f"/devices/{device}", body | {"name": body.get("name", "Other")})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert await registry.get(f"/devices/{device}") == before


async def test_settings_nested_too_deeply_are_refused(registry: Registry) -> None:
    device = await registry.device("DEEP0001")
    for levels, status in ((8, 200), (100_000, 400)):
        text = '{"settings":{"audio":' + '{"a":' * levels + "{}" + "}" * levels + "}}"
        answer = await registry.client.patch(
            f"/v1/devices/{device}",
            content=text,
            headers={**registry.tenant.headers, "Content-Type": "application/json"},
        )
        assert answer.status_code == status, levels


async def test_settings_are_merged_deeply(registry: Registry) -> None:
    device = await registry.device("MERGE001")
    path = f"/devices/{device}"

    async def patch(settings: Any) -> dict[str, Any]:
        answer = await registry.ask("PATCH", path, {"settings": settings})
        assert answer.status_code == 200, answer.text
        assert answer.json() == await registry.get(path)
        return answer.json()["settings"]

    connection = {
        "enabled_connections": {"wifi": True, "cellular": False},
        "upload_network_preference": ["wifi", "ble", "cellular"],
    }
    power = {"auto_sleep_minutes": 5}
    assert await patch({"connection": connection, "power": power}) == {
        "connection": connection,
        "power": power,
    }
    change = {"enabled_connections": {"cellular": True}, "upload_network_preference": ["ble"]}
    assert await patch({"connection": change, "upload": {}}) == {
        "connection": {
            "enabled_connections": {"wifi": True, "cellular": True},
            "upload_network_preference": ["ble"],
        },
        "power": power,
    }
    cleared = await patch({"connection": {"enabled_connections": None}})
    assert cleared["connection"] == {"upload_network_preference": ["ble"]}
    assert await patch({"connection": None, "upload": None}) == {"power": power}
    assert await patch(None) == {}


async def test_changes_of_different_settings_at_once_are_all_kept(registry: Registry) -> None:
    device = await registry.device("MERGE002")
    every: dict[str, dict[str, Any]] = {
        "connection": {"enabled_connections": {"wifi": True, "cellular": False}},
        "upload": {"streaming_enabled": True, "streaming_chunk_kb": 64, "allow_roaming": False},
        "audio": {"codec": "wav", "sample_rate": 48000, "bitrate": 320},
        "power": {"auto_sleep_minutes": 0, "low_battery_threshold_percent": 20},
    }
    changes = [{section: {name: value}} for section, of in every.items() for name, value in of.items()]
    answers = await asyncio.gather(
        *(registry.ask("PATCH", f"/devices/{device}", {"settings": change}) for change in changes)
    )
    assert {answer.status_code for answer in answers} == {200}
    assert (await registry.get(f"/devices/{device}"))["settings"] == every


async def test_the_older_form_shows_every_section(registry: Registry) -> None:
    device = await registry.device("OLDER001", firmware_version="2.0.0")
    shown = await registry.get(f"/devices/{device}/settings")
    assert set(shown) == {"device_id", "settings", "current_status", "updated_at"}
    assert (shown["device_id"], shown["settings"]) == (device, EMPTY)
    assert shown["current_status"] == {
        "network_type": None,
        "signal_strength_dbm": None,
        "is_roaming": None,
        "data_used_today_mb": None,
        "battery_percent": None,
        "storage_used_mb": None,
        "storage_total_mb": None,
    }
    assert shown["updated_at"] == (await registry.get(f"/devices/{device}"))["updated_at"]


@pytest.mark.parametrize("wrapped", [False, True])
async def test_put_resets_what_is_left_out_and_patch_merges(registry: Registry, wrapped: bool) -> None:
    device = await registry.device(f"OLDER01{wrapped:d}")
    path = f"/devices/{device}/settings"

    async def write(method: str, sections: Any) -> dict[str, Any]:
        answer = await registry.ask(method, path, {"settings": sections} if wrapped else sections)
        assert answer.status_code == 200, answer.text
        assert answer.json() == await registry.get(path)
        return answer.json()["settings"]

    wifi, both = {"wifi": True}, {"wifi": True, "cellular": False}
    first = {"connection": {"enabled_connections": wifi}, "upload": {"allow_roaming": True}}
    assert await write("PUT", first) == EMPTY | first
    merged = first | {"connection": {"enabled_connections": both}}
    assert await write("PATCH", {"connection": {"enabled_connections": both}}) == EMPTY | merged
    again = {"connection": {"enabled_connections": {"cellular": True}}}
    assert await write("PUT", again) == EMPTY | again
    assert await write("PATCH", {"connection": {"enabled_connections": None}, "power": None}) == EMPTY
    sent = {"power": {"auto_sleep_minutes": None, "low_battery_threshold_percent": 1}}
    assert await write("PUT", sent) == EMPTY | {"power": {"low_battery_threshold_percent": 1}}
    assert await write("PUT", {}) == EMPTY
    # Both forms are one thing.
    await registry.ask("PATCH", f"/devices/{device}", {"settings": {"audio": {"codec": "aac"}}})
    assert (await registry.get(path))["settings"] == EMPTY | {"audio": {"codec": "aac"}}


async def test_what_get_answered_may_be_sent_back(registry: Registry) -> None:
    device = await registry.device("OLDER002")
    path = f"/devices/{device}/settings"
    await registry.ask("PUT", path, {"audio": {"codec": "opus"}})
    shown = await registry.get(path)
    for method in ("PUT", "PATCH"):
        answer = await registry.ask(method, path, shown)
        assert (answer.status_code, answer.json()["settings"]) == (200, shown["settings"])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"settings": {"audio": {}}, "audio": {}}, "settings"),
        ({"audio": 1}, "audio"),
        ({"settings": []}, "settings"),
    ],
)
async def test_a_wrong_older_form_is_named(registry: Registry, body: dict[str, Any], param: str) -> None:
    device = await registry.device("OLDER003")
    for method in ("PUT", "PATCH"):
        answer = await registry.ask(method, f"/devices/{device}/settings", body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_nobody_else_reads_or_changes_them(
    client: httpx.AsyncClient, registry: Registry, stranger: Tenant
) -> None:
    device = await registry.device("MINE0001")
    before = await registry.get(f"/devices/{device}")
    for headers in (stranger.headers, registry.tenant.live_headers):
        for method, path, body in (
            ("PATCH", "", {"name": "theirs"}),
            ("DELETE", "", None),
            ("GET", "/state", None),
            ("GET", "/settings", None),
            ("PUT", "/settings", {}),
            ("PATCH", "/settings", {}),
        ):
            answer = await client.request(method, f"/v1/devices/{device}{path}", json=body, headers=headers)
            assert answer.status_code == 404, (method, path)
    assert await registry.get(f"/devices/{device}") == before
