"""What happens when a hold, its release and a deletion meet, and when the job of a release is killed."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from lapel.foundation.ports import Ports
from tests.erasure.support import REASON, WORDS, entry, erase_released, everything, hold, rounds, rows
from tests.recordings.support import Device
from tests.support.erasing import delete_rows
from tests.support.locks import until_waiting


async def test_of_a_hold_and_a_deletion_at_once_one_comes_first(device: Device, ports: Ports) -> None:
    """Both wait for the same row. The second one sees what the first one did, and nothing is half."""
    lock = "SELECT FROM recordings WHERE world_id = $1 AND id = $2 FOR UPDATE"
    for first in ("hold", "delete"):
        recording_id = await device.recording()
        path = f"/v1/recordings/{recording_id}"

        async def act(what: str, path: str = path) -> int:
            if what == "hold":
                answer = await device.client.post(f"{path}/hold", json=REASON, headers=device.headers)
            else:
                answer = await device.client.delete(path, headers=device.headers)
            return answer.status_code

        async with ports.database.transaction() as connection:
            await connection.execute(lock, device.tenant.test_world, recording_id)
            one = asyncio.create_task(act(first))
            await until_waiting(ports, 1)
            other = asyncio.create_task(act("delete" if first == "hold" else "hold"))
            await until_waiting(ports, 2)
        statuses = (await one, await other)
        state = (await entry(device, recording_id))["state"]
        assert (statuses, state) == (((201, 204), "held") if first == "hold" else ((204, 404), "open"))
        assert await rows(device, ports, recording_id) == (1 if first == "hold" else 0)


async def test_a_hold_on_the_end_user_waits_for_the_deletion_of_a_recording(
    device: Device, ports: Ports
) -> None:
    """Otherwise a recording would still be shown after the hold was placed, and be erased afterwards."""
    person = await device.end_user()
    recording_id = await device.recording(end_user_id=person)
    lock = "SELECT FROM recordings WHERE world_id = $1 AND id = $2 FOR UPDATE"
    async with ports.database.transaction() as connection:
        await connection.execute(lock, device.tenant.test_world, recording_id)
        deleted = asyncio.create_task(device.call("DELETE", f"/v1/recordings/{recording_id}", 204))
        await until_waiting(ports, 1)
        placed = asyncio.create_task(hold(device, f"end-users/{person}"))
        await until_waiting(ports, 2)
    await deleted
    await placed
    assert (await entry(device, recording_id))["state"] == "open"


@pytest.mark.parametrize(
    ("deleted", "held"), [("recording", "recording"), ("end user", "recording"), ("end user", "end user")]
)
async def test_a_release_waits_for_a_deletion_that_has_read_the_hold(
    device: Device, ports: Ports, deleted: str, held: str
) -> None:
    """Otherwise the deletion would hide the recording after the job looked, and nothing would look again."""
    person, world = await device.end_user(), device.tenant.test_world
    recording_id, _ = await device.upload(WORDS, end_user_id=person)
    path = f"recordings/{recording_id}" if held == "recording" else f"end-users/{person}"
    await hold(device, path)
    if deleted == "end user":
        await device.call("DELETE", f"/v1/end-users/{person}", 204)
    # The first table that a deletion writes after it has read whether a hold keeps the recording.
    async with ports.database.transaction() as connection:
        await connection.execute("LOCK TABLE tombstones IN SHARE MODE")
        if deleted == "end user":
            deletion = asyncio.create_task(delete_rows(ports, world, person))
        else:
            deletion = asyncio.create_task(device.call("DELETE", f"/v1/recordings/{recording_id}", 204))
        await until_waiting(ports, 1)
        await device.call("DELETE", f"/v1/{path}/hold", 204)
        release = asyncio.create_task(erase_released(ports))
        await until_waiting(ports, 2)
    await deletion
    await release
    assert (await entry(device, recording_id))["state"] == "open"
    assert await rows(device, ports, recording_id) == 0
    await rounds(ports, timedelta(minutes=6)).run_due()
    for resource_id in (recording_id, person) if deleted == "end user" else (recording_id,):
        assert (await entry(device, resource_id))["state"] == "erased"
    assert await everything(device, ports, recording_id) == []


async def test_a_release_killed_after_its_last_recording_still_opens_the_end_users_entry(
    device: Device, ports: Ports
) -> None:
    """The repeat finds the end user although the recording's row is gone."""
    person, world = await device.end_user(), device.tenant.test_world
    recording_id = await device.recording(end_user_id=person)
    await hold(device, f"recordings/{recording_id}")
    await device.call("DELETE", f"/v1/end-users/{person}", 204)
    await delete_rows(ports, world, person)
    await device.call("DELETE", f"/v1/recordings/{recording_id}/hold", 204)
    lock = "SELECT FROM erasures WHERE world_id = $1 AND resource_id = $2 FOR UPDATE"
    async with ports.database.transaction() as connection:
        await connection.execute(lock, world, person)
        killed = asyncio.create_task(erase_released(ports))
        await until_waiting(ports, 1)
        killed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await killed
    assert await rows(device, ports, recording_id) == 0
    assert (await entry(device, person))["state"] == "held"
    await erase_released(ports)
    assert (await entry(device, person))["state"] == "open"
