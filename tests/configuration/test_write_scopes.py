"""What erases recordings or admits plain uploads needs more than `config:write`, and is an event."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lapel.foundation.ports import Ports
from lapel.slices.configuration.operator.service import OperatorConfiguration
from lapel.slices.projects.scopes import Scope
from tests.configuration.conftest import Fleet
from tests.support.tenants import make_key

EVENTS = "SELECT body FROM events WHERE world_id = $1 AND type = 'config.updated' ORDER BY id"
ORGANIZATION = "SELECT organization_id FROM projects WHERE id = $1"
LEVELS = ("project", "end_user", "device")


async def key_of(fleet: Fleet, *scopes: Scope) -> str:
    return await make_key(fleet.ports, fleet.tenant.test_world, "rk_test", scopes=scopes)


async def updates(fleet: Fleet) -> list[dict[str, Any]]:
    """The data of every `config.updated`, in order."""
    async with fleet.ports.database.acquire() as connection:
        rows = await connection.fetch(EVENTS, fleet.tenant.test_world)
    return [json.loads(row["body"])["data"] for row in rows]


@pytest.mark.parametrize("level", LEVELS)
async def test_retention_needs_the_scopes_of_erasure(fleet: Fleet, level: str) -> None:
    path = f"{fleet.paths()[level]}/retention"
    narrow = await key_of(fleet, "config:write", "config:read")
    for method, body in (("PATCH", {"recordings_days": 1}), ("DELETE", None)):
        refused = await fleet.ask(method, path, body, status=403, token=narrow)
        assert "`recordings:write`, `audit:read`" in refused["error"]["message"]
    half = await key_of(fleet, "config:write", "recordings:write")
    refused = await fleet.ask("PATCH", path, {"audio_days": 1}, status=403, token=half)
    assert "`audit:read`" in refused["error"]["message"]
    assert "`recordings:write`" not in refused["error"]["message"]
    assert (await fleet.read(level, "retention"))["source"] == "default"
    whole = await key_of(fleet, "config:write", "recordings:write", "audit:read")
    await fleet.ask("PATCH", path, {"recordings_days": 90}, token=whole)
    await fleet.ask("DELETE", path, status=204, token=whole)


async def test_the_older_form_needs_them_too(fleet: Fleet) -> None:
    path = f"/v1/projects/{fleet.tenant.project_id}/config"
    narrow = await key_of(fleet, "config:write")
    await fleet.set("project", "upload_security", {"encrypted_upload_policy": "v2_required"})
    await fleet.ask("PUT", f"{path}/retention", {"audio_days": 1}, status=403, token=narrow)
    await fleet.ask("PUT", f"{path}/upload_security", {}, status=403, token=narrow)
    await fleet.ask("PUT", f"{path}/upload", {"allow_roaming": True}, token=narrow)


@pytest.mark.parametrize("level", ["project", "device"])
async def test_a_laxer_upload_policy_needs_keys_write(fleet: Fleet, level: str) -> None:
    path = f"{fleet.paths()[level]}/upload_security"
    narrow = await key_of(fleet, "config:write")
    policy = "encrypted_upload_policy"
    for stricter in ("legacy_allowed", "v2_preferred", "v2_required", "v2_required"):
        await fleet.ask("PATCH", path, {policy: stricter}, token=narrow)
    laxer: list[tuple[str, dict[str, Any] | None]] = [
        ("PATCH", {policy: "v2_preferred"}),
        ("PATCH", {policy: "legacy_allowed"}),
        ("PATCH", {policy: None}),
        ("DELETE", None),
    ]
    for method, body in laxer:
        refused = await fleet.ask(method, path, body, status=403, token=narrow)
        assert "`keys:write`" in refused["error"]["message"]
    assert (await fleet.read(level, "upload_security"))["value"] == {policy: "v2_required"}
    wide = await key_of(fleet, "config:write", "keys:write")
    for method, body in laxer[:3]:
        await fleet.ask(method, path, body, token=wide)
        await fleet.ask("PATCH", path, {policy: "v2_required"}, token=narrow)
    await fleet.ask("DELETE", path, status=204, token=wide)
    await fleet.ask("DELETE", path, status=204, token=narrow)  # there is none: nothing becomes laxer


async def test_a_change_is_an_event(fleet: Fleet) -> None:
    await fleet.set("project", "retention", {"recordings_days": 1})
    await fleet.set("project", "retention", {"recordings_days": 1})
    await fleet.set("device", "retention", {"audio_days": 30})
    await fleet.ask("DELETE", f"{fleet.paths()['project']}/retention", status=204)
    at_project, at_device, cleared = await updates(fleet)
    assert at_project["config"] == {name: at_project[name] for name in at_project if name != "config"}
    assert at_project["config"] == {
        "id": fleet.tenant.project_id,
        "project_id": fleet.tenant.project_id,
        "level": "project",
        "section": "retention",
        "before": None,
        "after": {"recordings_days": 1},
        "value": {"recordings_days": 1, "audio_days": None},
        "source": "project",
        "config_revision": at_project["config_revision"],
    }
    assert (at_device["level"], at_device["id"]) == ("device", fleet.device)
    assert at_device["value"] == {"recordings_days": 1, "audio_days": 30}
    assert (cleared["before"], cleared["after"]) == ({"recordings_days": 1}, None)
    assert cleared["config_revision"] > at_device["config_revision"] > at_project["config_revision"]


async def test_the_events_need_config_read(fleet: Fleet) -> None:
    await fleet.set("project", "upload", {"allow_roaming": True})
    query = "/v1/events?types=config.*"
    without = await key_of(fleet, "webhooks:read", "recordings:read")
    assert "`config:read`" in (await fleet.ask("GET", query, status=403, token=without))["error"]["message"]
    reader = await key_of(fleet, "webhooks:read", "config:read")
    (event,) = (await fleet.ask("GET", query, token=reader))["data"]
    assert (event["type"], event["data"]["section"]) == ("config.updated", "upload")


async def test_every_project_hears_of_its_organization(fleet: Fleet, ports: Ports) -> None:
    async with ports.database.acquire() as connection:
        organization = await connection.fetchval(ORGANIZATION, fleet.tenant.project_id)
    operator = OperatorConfiguration(ports, mode="test", organization_id=organization)
    await operator.patch("retention", {"audio_days": 7})
    await operator.patch("retention", {"audio_days": 7})
    await operator.clear("retention")
    made, cleared = await updates(fleet)
    assert (made["level"], made["id"]) == ("organization", organization)
    assert (made["project_id"], made["after"]) == (fleet.tenant.project_id, {"audio_days": 7})
    assert cleared["after"] is None


async def test_the_events_of_an_end_users_configuration_go_with_the_end_user(fleet: Fleet) -> None:
    await fleet.set("end_user", "retention", {"audio_days": 7})
    assert len(await updates(fleet)) == 1
    await fleet.ask("DELETE", f"/v1/end-users/{fleet.end_user}", status=204)
    assert (await fleet.ask("GET", "/v1/events?types=config.*"))["data"] == []
