"""The revision of a device's policy: one content each, and only upwards."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lapel.foundation.ports import Ports
from lapel.slices.configuration.service import Configuration
from lapel.slices.encrypted_uploads.policies.upload_policies import (
    DevicePolicy,
    UploadPolicies,
    canonical,
    renew_revisions,
)
from tests.configuration.conftest import Fleet, make_fleet
from tests.support.locks import until_waiting
from tests.support.tenants import Tenant, make_tenant

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

ADD_DEVICE = """
INSERT INTO devices (world_id, id, serial_number, model, created_at, updated_at)
VALUES ($1, $2, $2, 'bota_pin', now(), now())
"""


@pytest.fixture
async def fleet(client: Any, ports: Ports, tenant: Tenant) -> Fleet:
    """An end user and a device of theirs, in a project of the test's own."""
    return await make_fleet(client, ports, tenant)


class Told:
    """What devices of a project are told, and the check that a revision stands for one content."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.policies = UploadPolicies(Configuration(fleet.ports))
        self.contents: dict[int, tuple[str, bytes]] = {}

    async def current(self, device: str = "", end_user: str | None = None) -> DevicePolicy:
        tenant = self.fleet.tenant
        async with self.fleet.ports.database.transaction() as connection:
            found = await self.policies.current(
                connection,
                tenant.test_world,
                tenant.project_id,
                device or self.fleet.device,
                end_user or self.fleet.end_user,
            )
        assert found.configuration_sha256 == hashlib.sha256(found.configuration).digest()
        content = (found.policy, found.configuration_sha256)
        assert self.contents.setdefault(found.revision, content) == content
        return found


@pytest.fixture
def told(fleet: Fleet) -> Told:
    return Told(fleet)


def test_the_canonical_form_does_not_depend_on_order() -> None:
    one, other = (
        {"b": {"y": [2, 1], "x": None}, "a": {"é": "ü"}},
        {"a": {"é": "ü"}, "b": {"x": None, "y": [2, 1]}},
    )
    assert canonical(one) == canonical(other) == '{"a":{"é":"ü"},"b":{"x":null,"y":[2,1]}}'.encode()


async def test_the_same_content_keeps_its_revision(told: Told) -> None:
    first, second = await told.current(), await told.current()
    assert first == second
    assert (first.policy, first.revision) == ("legacy_allowed", 1)
    value = await told.fleet.ask("GET", f"/v1/devices/{told.fleet.device}/config")
    snapshot = json.loads(first.configuration)
    assert snapshot == {name: each["value"] for name, each in value["data"].items()}


async def test_a_change_has_a_higher_revision_also_when_it_is_undone(told: Told) -> None:
    policy = {"encrypted_upload_policy": "v2_required"}
    seen = [await told.current()]
    for level, section, change in (
        ("project", "upload_security", policy),
        ("project", "upload_security", {"encrypted_upload_policy": None}),
        ("end_user", "upload", {"allow_roaming": True}),
        ("end_user", "upload", {"allow_roaming": None}),
        ("device", "upload_security", policy),
    ):
        await told.fleet.set(level, section, change)
        seen.append(await told.current())
        assert await told.current() == seen[-1]
    assert [each.revision for each in seen] == [1, 2, 3, 4, 5, 6]
    assert [each.policy for each in seen] == [
        *["legacy_allowed", "v2_required"],
        *["legacy_allowed"] * 3,
        "v2_required",
    ]
    assert seen[0].configuration == seen[2].configuration == seen[4].configuration


async def test_another_binding_with_another_configuration_has_a_higher_revision(told: Told) -> None:
    fleet = told.fleet
    first = await told.current()
    other = (await fleet.ask("POST", "/v1/end-users", {}, status=201))["id"]
    await fleet.ask("PATCH", f"/v1/end-users/{other}/config/upload", {"allow_roaming": True})
    assert (await told.current(end_user=other)).revision == first.revision + 1
    assert (await told.current()).revision == first.revision + 2


async def test_devices_of_a_project_share_its_counter_and_projects_do_not(
    told: Told, ports: Ports, client: Any
) -> None:
    fleet = told.fleet
    made = {"serial_number": "CONF0002", "model": "bota_pin"}
    other = (await fleet.ask("POST", "/v1/devices", made, status=201))["id"]
    assert [(await told.current(each)).revision for each in ("", other, "", other)] == [1, 2, 1, 2]
    stranger = Told(await make_fleet(client, ports, await make_tenant(ports)))
    assert (await stranger.current()).revision == 1


async def test_after_a_restore_each_device_gets_a_revision_that_it_has_not_seen(
    told: Told, ports: Ports, client: Any
) -> None:
    """It may have seen newer ones than the backup has, also in a project that had none when it was made."""
    before = await told.current()
    untold = Told(await make_fleet(client, ports, await make_tenant(ports)))
    async with ports.database.transaction() as connection:
        await renew_revisions(connection)
    after = await told.current()
    assert after.configuration == before.configuration
    assert after.revision > 1 << 32
    assert (await untold.current()).revision > 1 << 32


async def test_who_waits_reads_the_configuration_after_the_one_before(told: Told) -> None:
    """Otherwise what was read first could get the higher revision, and the device would keep what is old."""
    fleet = told.fleet
    async with fleet.ports.database.transaction() as connection:
        before = await told.policies.current(
            connection, fleet.tenant.test_world, fleet.tenant.project_id, fleet.device, fleet.end_user
        )
        waiting = asyncio.create_task(told.current())
        await until_waiting(fleet.ports, 1)
        await fleet.set("device", "upload", {"allow_roaming": True})
    after = await waiting
    assert after.revision == before.revision + 1
    assert json.loads(after.configuration)["upload"]["allow_roaming"]


async def test_in_a_race_a_revision_means_one_content_and_the_newest_has_the_highest(told: Told) -> None:
    fleet = told.fleet
    made = {"serial_number": "CONF0002", "model": "bota_pin"}
    other = (await fleet.ask("POST", "/v1/devices", made, status=201))["id"]
    seen: dict[str, list[int]] = {fleet.device: [], other: []}

    async def ask(device: str) -> None:
        own = [(await told.current(device)).revision for _ in range(12)]
        assert own == sorted(own)
        seen[device] += own

    async def write() -> None:
        for number in range(12):
            await fleet.set("project", "upload", {"streaming_chunk_kb": 64 + number % 3})
            await fleet.set("device", "upload_security", {"encrypted_upload_policy": "v2_preferred"})
            await fleet.ask("DELETE", f"/v1/devices/{fleet.device}/config/upload_security", status=204)

    await asyncio.gather(write(), *(ask(each) for each in (fleet.device, other) for _ in range(3)))
    last = {device: (await told.current(device)).revision for device in seen}
    for device, revisions in seen.items():
        assert max(revisions) <= last[device]
    assert not set(seen[fleet.device]) & set(seen[other])


class Written:
    """In place of the configuration: what each device has now."""

    def __init__(self) -> None:
        self.of_device: dict[str, dict[str, dict[str, Any]]] = {}

    async def resolved(
        self, _connection: Connection, _world_id: int, _end_user_id: str | None, device_id: str | None
    ) -> dict[str, dict[str, Any]]:
        """As Configuration.resolved."""
        return self.of_device[device_id or ""]


STEPS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(["legacy_allowed", "v2_preferred", "v2_required"]),
        st.integers(0, 1),
        st.sampled_from([None, "eu_1", "eu_2"]),
        st.booleans(),
    ),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_whatever_changes_a_revision_means_one_content_and_rises(ports: Ports, steps: Any) -> None:
    """Also with bindings that change, contents that come back, and transactions that are rolled back."""
    tenant, written = await make_tenant(ports), Written()
    policies = UploadPolicies(cast("Configuration", written))
    devices = [ports.ids.new("dev") for _ in range(2)]
    async with ports.database.acquire() as connection:
        await connection.executemany(ADD_DEVICE, [(tenant.test_world, each) for each in devices])
    seen: dict[str, list[DevicePolicy]] = {each: [] for each in devices}
    for number, policy, size, end_user, is_kept in steps:
        device = devices[number]
        written.of_device[device] = {
            "upload_security": {"encrypted_upload_policy": policy},
            "upload": {"size": size},
        }
        async with ports.database.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            found = await policies.current(connection, tenant.test_world, tenant.project_id, device, end_user)
            await (transaction.commit() if is_kept else transaction.rollback())
        assert (found.policy, found.configuration) == (policy, canonical(written.of_device[device]))
        before = seen[device][-1] if seen[device] else None
        if before is not None and before.configuration == found.configuration:
            assert found == before
        else:
            assert found.revision > max((each.revision for told in seen.values() for each in told), default=0)
        if is_kept:
            seen[device].append(found)
