"""A device that changed hands: its token reaches what was made under its present binding, nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lapel.foundation.ports import Ports
from lapel.slices.recordings.access import Reach
from lapel.slices.recordings.records import record_queries
from tests.recordings.support import Device, sha256
from tests.support.tenants import Tenant, bearer, make_key

OGG = b"OggS, so to speak"
UUID = {"recording_uuid": "2f1c8a52-9f4e-4f0a-8a38-0d5f0a3b7c11", "recording_generation": 1}


class Handed:
    """One device that goes from hand to hand, and what it calls with."""

    def __init__(self, owner: Device, device_id: str) -> None:
        self.owner = owner
        self.device_id = device_id
        self.token: dict[str, str] = {}

    async def to(self, person: str) -> None:
        """It is this end user's from now on."""
        path = f"/v1/devices/{self.device_id}"
        await self.owner.post(f"{path}/unbind", 200)
        bound = await self.owner.post(f"{path}/bind", 200, {"end_user_id": person})
        self.token = bearer(bound["device_token"])

    async def record(self, expect: int = 201, key: str | None = None, **facts: Any) -> dict[str, Any]:
        """What announcing a recording answers."""
        headers = self.token | ({"Idempotency-Key": key} if key else {})
        return await self.owner.post("/v1/recordings", expect, facts, **headers)

    async def start(self, recording_id: str, expect: int = 200, **body: Any) -> dict[str, Any]:
        """What asking for an upload URL answers."""
        return await self.owner.post(f"/v1/recordings/{recording_id}/upload-url", expect, body, **self.token)

    async def complete(self, recording_id: str, expect: int = 200, **body: Any) -> dict[str, Any]:
        """What completing an upload answers."""
        path = f"/v1/recordings/{recording_id}/upload-complete"
        return await self.owner.post(path, expect, body, **self.token)


@pytest.fixture
async def handed(device: Device) -> Handed:
    made = await device.post("/v1/devices", 201, {"serial_number": "HANDED01"})
    return Handed(device, made["id"])


@pytest.mark.parametrize("back", [False, True], ids=["to-another", "and-back"])
async def test_what_an_earlier_binding_recorded_is_404(handed: Handed, device: Device, back: bool) -> None:
    ada, ben = await device.end_user(), await device.end_user()
    await handed.to(ada)
    done = (await handed.record(name="Ada's", metadata={"who": "Ada"}))["id"]
    await device.put(await handed.start(done), OGG)
    await handed.complete(done)
    pending = (await handed.record())["id"]
    begun = await handed.start(pending)
    for person in (ben, ada) if back else (ben,):
        await handed.to(person)
    before = [await device.read(each) for each in (done, pending)]
    for recording_id in (done, pending):
        await handed.start(recording_id, 404)
        await handed.start(recording_id, 404, type="image")
        await handed.complete(recording_id, 404)
        await handed.complete(recording_id, 404, content_sha256=sha256(OGG))
    assert [await device.read(each) for each in (done, pending)] == before
    own = (await handed.record())["id"]
    await device.put(await handed.start(own), OGG)
    await handed.complete(own)
    # The upload token is the recording's: it ends what was begun.
    await device.put(begun, OGG)
    path = f"/v1/recordings/{pending}/upload-complete"
    assert (await device.post(path, 200, {}, **bearer(begun["upload_token"])))["status"] == "uploaded"


async def test_a_uuid_of_another_end_user_is_a_plain_409(
    handed: Handed, device: Device, tenant: Tenant, ports: Ports
) -> None:
    ada, ben = await device.end_user(), await device.end_user()
    await handed.to(ada)
    facts = {"name": "Ada's", "metadata": {"who": "Ada"}, "started_at": "2026-01-15T12:00:00Z"}
    first = await handed.record(**UUID, **facts)
    await handed.to(ben)
    own_key = bearer(await make_key(ports, tenant.test_world, "rk_test", end_user_id=ben))
    named = {**UUID, "device_id": handed.device_id}
    refusals = [
        await handed.record(409, **UUID),
        await handed.record(409, **UUID, **facts),
        await device.post("/v1/recordings", 409, named, **own_key),
        await device.post("/v1/recordings", 409, {**named, "end_user_id": ben}),
    ]
    for refusal in refusals:
        assert set(refusal["error"]) == {"code", "message", "request_id"}
        assert refusal["error"]["code"] == "conflict"
        assert refusal["error"]["message"] == refusals[0]["error"]["message"]
        assert first["id"] not in str(refusal)
    assert await device.read(first["id"]) == first


async def test_the_same_end_user_again_names_the_recording_and_reaches_it(
    handed: Handed, device: Device
) -> None:
    """Else what was announced and not uploaded before a new binding could never be uploaded by its device."""
    ada, ben = await device.end_user(), await device.end_user()
    await handed.to(ada)
    first = await handed.record(**UUID)
    for person in (ben, ada):
        await handed.to(person)
    await handed.start(first["id"], 404)
    assert await handed.record(200, **UUID) == first
    await device.put(await handed.start(first["id"]), OGG)
    assert (await handed.complete(first["id"]))["status"] == "uploaded"
    await handed.to(ben)
    await handed.complete(first["id"], 404)


async def test_an_answer_kept_for_a_repeat_is_of_its_binding(handed: Handed, device: Device) -> None:
    ada, ben = await device.end_user(), await device.end_user()
    await handed.to(ada)
    first = await handed.record(key="1", name="Ada's")
    assert await handed.record(key="1", name="Ada's") == first
    await handed.to(ben)
    again = await handed.record(key="1", name="Ada's")
    assert again["id"] != first["id"]
    assert (again["end_user_id"], again["device_id"]) == (ben, handed.device_id)


async def test_what_a_key_makes_for_the_wearer_is_reached_and_for_others_is_not(
    handed: Handed, device: Device
) -> None:
    ada, ben = await device.end_user(), await device.end_user()
    await handed.to(ada)
    hers = await device.recording(device_id=handed.device_id, end_user_id=ada)
    his = await device.recording(device_id=handed.device_id, end_user_id=ben)
    await handed.start(hers)
    await handed.start(his, 404)


async def test_each_of_several_questions_has_its_own_reach(
    handed: Handed, device: Device, ports: Ports
) -> None:
    ada, ben = await device.end_user(), await device.end_user()
    await handed.to(ada)
    first = (await handed.record())["id"]
    await handed.to(ben)
    second = (await handed.record())["id"]
    world, other, bound = device.tenant.test_world, device.tenant.live_world, handed.device_id
    asked = [
        (Reach(world, first), True),
        (Reach(other, first), False),
        (Reach(world, second, end_user_id=ben), True),
        (Reach(world, second, end_user_id=ada), False),
        (Reach(world, first, device_id=bound, binding_generation=1), True),
        (Reach(world, first, device_id=bound, binding_generation=2), False),
        (Reach(world, second, device_id=bound, binding_generation=2), True),
        (Reach(world, second, device_id="dev_other", binding_generation=2), False),
        (Reach(world, first), True),
    ]
    async with ports.database.acquire() as connection:
        found = await record_queries.read(connection, [at for at, _ in asked])
        alone = [(await record_queries.read(connection, [at]))[0] for at, _ in asked]
    assert [row and row.id for row in alone] == [row and row.id for row in found]
    assert [row and row.id for row in found] == [at.recording_id if seen else None for at, seen in asked]


async def test_callers_at_the_same_time_read_their_own_recordings(device: Device, ports: Ports) -> None:
    ada, ben = await device.end_user(), await device.end_user()
    keys = {
        person: bearer(await make_key(ports, device.tenant.test_world, "rk_test", end_user_id=person))
        for person in (ada, ben)
    }
    own = {person: await device.recording(end_user_id=person, name=person) for person in keys}
    asked = [(reader, owner) for reader in keys for owner in own] * 8
    answers = await asyncio.gather(
        *(device.client.get(f"/v1/recordings/{own[owner]}", headers=keys[reader]) for reader, owner in asked)
    )
    for (reader, owner), answer in zip(asked, answers, strict=True):
        assert answer.status_code == (200 if reader == owner else 404)
        assert reader != owner or answer.json()["name"] == owner
