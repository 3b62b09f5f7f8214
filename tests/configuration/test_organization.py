"""The organizations' level: the operator's, one per mode, in all projects of an organization."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from lapel.foundation.core.errors import Conflict, InvalidRequest, NotFound
from lapel.foundation.ports import Ports, open_ports
from lapel.slices.configuration.operator.service import OperatorConfiguration
from lapel.slices.projects.service import Projects
from tests.configuration.conftest import Fleet
from tests.support.running import settings_for
from tests.support.tenants import INSERT_ORGANIZATION, make_key

ORGANIZATION = "SELECT organization_id FROM projects WHERE id = $1"


@pytest.fixture
async def own_kit(fresh_database: str, tmp_path: Path) -> AsyncGenerator[Ports]:
    """Ports as a command opens them, on an installation that nobody used yet."""
    async with open_ports(settings_for(tmp_path, fresh_database, 8080)) as ports:
        yield ports


@pytest.fixture
async def organization(fleet: Fleet) -> str:
    async with fleet.ports.database.acquire() as connection:
        return await connection.fetchval(ORGANIZATION, fleet.tenant.project_id)


async def test_it_lies_below_the_project_and_counts_in_one_mode(fleet: Fleet, organization: str) -> None:
    operator = OperatorConfiguration(fleet.ports, mode="test", organization_id=organization)
    made = await operator.patch("upload", {"streaming_chunk_kb": 128, "allow_roaming": True})
    assert made.source == "organization"
    for level in fleet.paths():
        seen = await fleet.read(level, "upload")
        assert (seen["source"], seen["value"]["streaming_chunk_kb"]) == ("organization", 128)
    near = await fleet.set("project", "upload", {"streaming_chunk_kb": 512})
    assert (near["source"], near["value"]["streaming_chunk_kb"]) == ("project", 512)
    assert near["value"]["allow_roaming"] is True
    live = await fleet.ask("GET", "/v1/config/upload", token=fleet.tenant.live_key)
    assert live["source"] == "default"
    assert (await operator.read())["upload"].source == "organization"
    assert (await operator.clear("upload")).source == "default"
    assert (await fleet.read("project", "upload"))["value"]["allow_roaming"] is False


async def test_every_project_of_the_organization_has_it(
    fleet: Fleet, ports: Ports, organization: str
) -> None:
    other = await Projects(ports).create("Other", organization)
    async with ports.database.acquire() as connection:
        world = await connection.fetchval(
            "SELECT id FROM worlds WHERE project_id = $1 AND mode = 'live'", other.id
        )
    key = await make_key(ports, world, "sk_live")
    operator = OperatorConfiguration(ports, mode="live", organization_id=organization)
    await operator.patch("retention", {"recordings_days": 30})
    for token in (key, fleet.tenant.live_key):
        seen = await fleet.ask("GET", "/v1/config/retention", token=token)
        assert (seen["source"], seen["value"]["recordings_days"]) == ("organization", 30)
        log = "/v1/audit-log?action=config.updated"
        (entry,) = (await fleet.ask("GET", log, token=token))["data"]
        assert entry["actor"] == {"kind": "operator", "id": None}
        assert (entry["resource_type"], entry["resource_id"]) == ("organization", organization)
        assert entry["action"] == "config.updated"
        assert (entry["before"], entry["after"]) == (
            {"retention": None},
            {"retention": {"recordings_days": 30}},
        )
        assert entry["request_id"] is None
    assert (await fleet.ask("GET", "/v1/audit-log?action=config.updated"))["data"] == []


async def test_it_is_checked_like_any_level(fleet: Fleet, organization: str) -> None:
    operator = OperatorConfiguration(fleet.ports, mode="test", organization_id=organization)
    with pytest.raises(InvalidRequest):
        await operator.patch("upload", {"streaming_chunk_kb": 1})
    with pytest.raises(NotFound):
        await operator.patch("uploads", {})
    with pytest.raises(NotFound):
        await operator.clear("uploads")
    await operator.patch("upload_security", {"encrypted_upload_policy": "v2_required"})
    seen = await fleet.read("device", "upload_security")
    assert seen["value"] == {"encrypted_upload_policy": "v2_required"}


async def test_the_organization_is_named_only_when_there_are_several(own_kit: Ports) -> None:
    with pytest.raises(NotFound):
        await OperatorConfiguration(own_kit, mode="test").read()
    await Projects(own_kit).create("Mine")
    await OperatorConfiguration(own_kit, mode="test").patch("upload", {"allow_roaming": True})
    async with own_kit.database.acquire() as connection:
        await connection.execute(INSERT_ORGANIZATION, "org_other", "Other", own_kit.clock.now())
    with pytest.raises(Conflict, match="org_other"):
        await OperatorConfiguration(own_kit, mode="test").read()
    with pytest.raises(NotFound):
        await OperatorConfiguration(own_kit, mode="test", organization_id="org_none").clear("upload")
    empty = OperatorConfiguration(own_kit, mode="test", organization_id="org_other")
    assert (await empty.read())["upload"].source == "default"
    assert (await empty.patch("upload", {"allow_roaming": True})).source == "organization"
