"""The configuration over HTTP: levels, sources, writes, and what is refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from lapel.foundation.ports import Ports
from lapel.slices.configuration import queries
from lapel.slices.configuration.sections import SECTIONS
from lapel.slices.configuration.service import Configuration
from tests.configuration.conftest import Fleet, make_fleet
from tests.support.tenants import Tenant, make_key

DEFAULTS: dict[str, Any] = {
    "connection": {
        "enabled_connections": {"wifi": True, "cellular": True},
        "heartbeat_enabled_connections": {"wifi": True, "cellular": True},
        "upload_network_preference": ["wifi", "ble", "cellular"],
        "power_management": {"wifi_idle_timeout_seconds": 180, "cellular_idle_timeout_seconds": 180},
    },
    "upload": {
        "streaming_enabled": False,
        "streaming_chunk_kb": 256,
        "streaming_flush_interval_seconds": 60,
        "daily_data_limit_mb": 500,
        "allow_roaming": False,
        "pause_on_low_battery": True,
        "off_peak_hours": None,
    },
    "processing": {
        "auto_transcription": {"enabled": False, "provider": None},
        "auto_summary": {"enabled": False, "provider": None, "template": "general_notes"},
        "auto_embedding": {"enabled": True},
        "auto_enhancement": {"enabled": False},
    },
    "ota": {"auto_update": {"enabled": False}, "source": "service"},
    "upload_security": {"encrypted_upload_policy": "legacy_allowed"},
    "retention": {"recordings_days": None, "audio_days": None},
}


async def test_the_schema_tells_of_every_section(fleet: Fleet) -> None:
    told = (await fleet.ask("GET", "/v1/config/schema"))["data"]
    assert {each["section"]: each["defaults"] for each in told} == DEFAULTS
    for each in told:
        assert each == await fleet.ask("GET", f"/v1/config/schema/{each['section']}")
        assert each["description"]
        three = ["organization", "project", "device"]
        four = ["organization", "project", "end_user", "device"]
        assert each["levels"] == (three if each["section"] == "upload_security" else four)
        strategy = "min" if each["section"] == "retention" else "merge_deep"
        assert each["merge_strategy"] == strategy


@pytest.mark.parametrize("level", ["project", "end_user", "device"])
async def test_without_overrides_everything_is_the_default(fleet: Fleet, level: str) -> None:
    told = (await fleet.ask("GET", fleet.paths()[level]))["data"]
    assert {name: each["value"] for name, each in told.items()} == DEFAULTS
    for name, each in told.items():
        assert each["source"] == "default"
        assert each["definition"] == await fleet.ask("GET", f"/v1/config/schema/{name}")
        assert each == await fleet.read(level, name)


async def test_nearer_levels_count_and_the_source_is_the_last_one(fleet: Fleet) -> None:
    first = await fleet.set("project", "connection", {"enabled_connections": {"wifi": False}})
    assert first["source"] == "project"
    assert first["value"]["enabled_connections"] == {"wifi": False, "cellular": True}
    assert (await fleet.read("device", "connection"))["source"] == "project"
    await fleet.set("end_user", "connection", {"enabled_connections": {"cellular": False}})
    await fleet.set("device", "connection", {"enabled_connections": {"wifi": True}})
    seen = {level: await fleet.read(level, "connection") for level in fleet.paths()}
    assert {level: each["source"] for level, each in seen.items()} == {each: each for each in seen}
    assert seen["project"]["value"]["enabled_connections"] == {"wifi": False, "cellular": True}
    assert seen["end_user"]["value"]["enabled_connections"] == {"wifi": False, "cellular": False}
    assert seen["device"]["value"]["enabled_connections"] == {"wifi": True, "cellular": False}
    for untouched in ("power_management", "heartbeat_enabled_connections", "upload_network_preference"):
        assert seen["device"]["value"][untouched] == DEFAULTS["connection"][untouched]
    everything = (await fleet.ask("GET", fleet.paths()["device"]))["data"]
    assert everything["connection"] == seen["device"]
    assert everything["upload"]["source"] == "default"


async def test_an_end_users_level_counts_while_the_device_is_bound(fleet: Fleet) -> None:
    await fleet.set("end_user", "upload", {"allow_roaming": True})
    assert (await fleet.read("device", "upload"))["value"]["allow_roaming"] is True
    await fleet.ask("POST", f"/v1/devices/{fleet.device}/unbind")
    loose = await fleet.read("device", "upload")
    assert (loose["value"]["allow_roaming"], loose["source"]) == (False, "default")


async def test_null_and_delete_take_an_override_away(fleet: Fleet) -> None:
    path = f"{fleet.paths()['device']}/upload"
    await fleet.set("project", "upload", {"streaming_chunk_kb": 128})
    await fleet.set("device", "upload", {"streaming_chunk_kb": 512, "off_peak_hours": {"enabled": True}})
    cleared = await fleet.set("device", "upload", {"streaming_chunk_kb": None})
    assert cleared["source"] == "device"
    assert cleared["value"]["streaming_chunk_kb"] == 128
    assert cleared["value"]["off_peak_hours"] == {
        "enabled": True, "start": "00:00", "end": "06:00", "timezone": "UTC",
    }  # fmt: skip
    emptied = await fleet.set("device", "upload", {"off_peak_hours": None})
    assert (emptied["source"], emptied["value"]["off_peak_hours"]) == ("project", None)
    await fleet.set("device", "upload", {"allow_roaming": True})
    assert await fleet.ask("DELETE", path, status=204) is None
    assert (await fleet.read("device", "upload"))["source"] == "project"
    assert await fleet.ask("DELETE", path, status=204) is None


async def test_put_replaces_the_projects_override(fleet: Fleet) -> None:
    path = f"/v1/projects/{fleet.tenant.project_id}/config/upload"
    await fleet.set("project", "upload", {"streaming_chunk_kb": 128, "allow_roaming": True})
    replaced = await fleet.ask("PUT", path, {"streaming_chunk_kb": 64})
    assert (replaced["source"], replaced["value"]["streaming_chunk_kb"]) == ("project", 64)
    assert replaced["value"]["allow_roaming"] is False
    assert (await fleet.ask("PUT", path, {}))["source"] == "default"
    for elsewhere in ("proj_none", "proj_0VvPq3xYz8KmW2nLc5RtB7dF"):
        await fleet.ask("PUT", f"/v1/projects/{elsewhere}/config/upload", {}, status=404)


async def test_the_strictest_data_limit_and_security_count(fleet: Fleet) -> None:
    await fleet.set("project", "upload", {"daily_data_limit_mb": 0})
    assert (await fleet.read("device", "upload"))["value"]["daily_data_limit_mb"] == 0
    await fleet.set("end_user", "upload", {"daily_data_limit_mb": 300})
    await fleet.set("device", "upload", {"daily_data_limit_mb": 800})
    assert (await fleet.read("device", "upload"))["value"]["daily_data_limit_mb"] == 300
    await fleet.set("project", "upload_security", {"encrypted_upload_policy": "v2_required"})
    laxer = await fleet.set("device", "upload_security", {"encrypted_upload_policy": "v2_preferred"})
    assert laxer["source"] == "device"
    assert laxer["value"] == {"encrypted_upload_policy": "v2_required"}
    await fleet.set("project", "retention", {"recordings_days": 90})
    longer = await fleet.set("end_user", "retention", {"recordings_days": 365, "audio_days": 30})
    assert longer["value"] == {"recordings_days": 90, "audio_days": 30}


async def test_upload_security_has_no_level_of_end_users(fleet: Fleet) -> None:
    path = f"{fleet.paths()['end_user']}/upload_security"
    for method in ("PATCH", "DELETE"):
        body = {"encrypted_upload_policy": "v2_required"} if method == "PATCH" else None
        refused = (await fleet.ask(method, path, body, status=400))["error"]
        assert refused["param"] == "section"
        assert "organization, project, device" in refused["message"]
    await fleet.set("project", "upload_security", {"encrypted_upload_policy": "v2_preferred"})
    asked = await fleet.read("end_user", "upload_security")
    assert asked == await fleet.read("project", "upload_security")
    assert (asked["source"], asked["value"]["encrypted_upload_policy"]) == ("project", "v2_preferred")


async def test_a_stored_override_of_a_level_that_a_section_does_not_have_counts_for_nothing(
    fleet: Fleet,
) -> None:
    """From a version of Lapel in which the section had it."""
    async with fleet.ports.database.acquire() as connection:
        at = (fleet.tenant.test_world, "end_user", fleet.end_user, "upload_security")
        stored = '{"encrypted_upload_policy": "v2_required"}'
        await queries.put_override(connection, at, stored, 1, fleet.ports.clock.now())
    for level in ("end_user", "device"):
        seen = await fleet.read(level, "upload_security")
        assert (seen["source"], seen["value"]) == ("default", DEFAULTS["upload_security"])


@pytest.mark.parametrize("level", ["project", "end_user", "device"])
async def test_what_cannot_be_written_is_400_with_its_path(fleet: Fleet, level: str) -> None:
    path = f"{fleet.paths()[level]}/connection"
    for change, param in (
        (
            {"power_management": {"wifi_idle_timeout_seconds": 2541}},
            "power_management.wifi_idle_timeout_seconds",
        ),
        ({"enabled_connections": {"lte": True}}, "enabled_connections.lte"),
        ({"streaming_enabled": True}, "streaming_enabled"),
        ({"nobody_knows": None}, "nobody_knows"),
    ):
        refused = (await fleet.ask("PATCH", path, change, status=400))["error"]
        assert (refused["code"], refused["param"]) == ("invalid_request", param)
        assert refused["details"][0]["field"] == param
    assert (await fleet.read(level, "connection"))["source"] == "default"


async def test_idle_times_are_kept_as_10_seconds_at_least(fleet: Fleet) -> None:
    change = {"power_management": {"wifi_idle_timeout_seconds": 3, "cellular_idle_timeout_seconds": -1}}
    made = await fleet.set("device", "connection", change)
    assert made["value"]["power_management"] == {
        "wifi_idle_timeout_seconds": 10, "cellular_idle_timeout_seconds": -1,
    }  # fmt: skip


async def test_an_unknown_section_is_404(fleet: Fleet) -> None:
    bases = ["/v1/config", "/v1/config/schema", *fleet.paths().values()]
    for base in bases:
        refused = (await fleet.ask("GET", f"{base}/uploads", status=404))["error"]
        assert "upload_security" in refused["message"]
    for base in fleet.paths().values():
        await fleet.ask("PATCH", f"{base}/uploads", {}, status=404)
        await fleet.ask("DELETE", f"{base}/uploads", status=404)
    await fleet.ask("PUT", f"/v1/projects/{fleet.tenant.project_id}/config/uploads", {}, status=404)


async def test_worlds_and_projects_share_nothing(
    fleet: Fleet, client: httpx.AsyncClient, ports: Ports, stranger: Tenant
) -> None:
    other = await make_fleet(client, ports, stranger)
    for level in fleet.paths():
        await fleet.set(level, "upload", {"allow_roaming": True})
    for level in other.paths():
        assert (await other.read(level, "upload"))["source"] == "default"
    live = await fleet.ask("GET", "/v1/config/upload", token=fleet.tenant.live_key)
    assert live["source"] == "default"
    for level in ("end_user", "device"):
        path = f"{fleet.paths()[level]}/upload"
        for token in (fleet.tenant.live_key, stranger.test_key, stranger.live_key):
            await fleet.ask("GET", path, status=404, token=token)
            await fleet.ask("PATCH", path, {"allow_roaming": False}, status=404, token=token)
            await fleet.ask("DELETE", path, status=404, token=token)
        assert (await fleet.read(level, "upload"))["value"]["allow_roaming"] is True


async def test_a_key_of_one_end_user_reads_what_is_theirs_and_writes_nothing(fleet: Fleet) -> None:
    world = fleet.tenant.test_world
    own = await make_key(fleet.ports, world, "rk_test", end_user_id=fleet.end_user)
    other_user = (await fleet.ask("POST", "/v1/end-users", {}, status=201))["id"]
    other = await make_key(fleet.ports, world, "rk_test", end_user_id=other_user)
    for level in ("end_user", "device"):
        path = fleet.paths()[level]
        assert await fleet.ask("GET", path, token=own) == await fleet.ask("GET", path)
        await fleet.ask("GET", f"{path}/upload", token=own)
        await fleet.ask("GET", path, status=404, token=other)
        await fleet.ask("GET", f"{path}/upload", status=404, token=other)
        await fleet.ask("PATCH", f"{path}/upload", {}, status=403, token=own)
        await fleet.ask("DELETE", f"{path}/upload", status=403, token=own)
    await fleet.ask("GET", "/v1/config", status=403, token=own)
    await fleet.ask("PATCH", "/v1/config/upload", {}, status=403, token=own)
    await fleet.ask("POST", f"/v1/devices/{fleet.device}/unbind")
    await fleet.ask("GET", fleet.paths()["device"], status=404, token=own)


async def test_deleting_takes_the_overrides_along(fleet: Fleet) -> None:
    left = "SELECT level, subject_id FROM config_overrides WHERE world_id = $1 ORDER BY level"
    for level in fleet.paths():
        await fleet.set(level, "upload", {"allow_roaming": True})
    await fleet.ask("DELETE", f"/v1/end-users/{fleet.end_user}", status=204)
    await fleet.ask("GET", fleet.paths()["end_user"], status=404)
    await fleet.ask("PATCH", f"{fleet.paths()['end_user']}/upload", {}, status=404)
    async with fleet.ports.database.acquire() as connection:
        rows = await connection.fetch(left, fleet.tenant.test_world)
    assert [tuple(row) for row in rows] == [("device", fleet.device), ("project", "")]
    await fleet.ask("DELETE", f"/v1/devices/{fleet.device}", status=204)
    await fleet.ask("GET", fleet.paths()["device"], status=404)
    await fleet.ask("PATCH", f"{fleet.paths()['device']}/upload", {}, status=404)
    async with fleet.ports.database.acquire() as connection:
        rows = await connection.fetch(left, fleet.tenant.test_world)
    assert [tuple(row) for row in rows] == [("project", "")]


async def test_other_slices_are_told_every_section(fleet: Fleet, live: Any) -> None:
    await fleet.set("project", "processing", {"auto_transcription": {"enabled": True}})
    await fleet.set("end_user", "retention", {"audio_days": 7})
    configuration = live.services[Configuration]
    async with fleet.ports.database.acquire() as connection:
        world = fleet.tenant.test_world
        whole = await configuration.resolved(connection, world, fleet.end_user, fleet.device)
        alone = await configuration.resolved(connection, world, None, None)
    assert set(whole) == set(SECTIONS)
    assert whole["processing"]["auto_transcription"] == {"enabled": True, "provider": None}
    assert whole["retention"] == {"recordings_days": None, "audio_days": 7}
    assert alone["processing"] == whole["processing"]
    assert alone["retention"] == {"recordings_days": None, "audio_days": None}
