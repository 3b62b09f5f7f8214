"""What happens when a hold, its release and a deletion meet, and when the job of a release is killed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from lapel.foundation.core.clock import ManualClock
from lapel.foundation.ports import Ports
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.slices.erasure import hold_queries, legal_holds
from lapel.slices.recordings.service import Recordings
from tests.erasure.support import REASON, WORDS, entry, erase_released, everything, hold, rounds, rows
from tests.recordings.support import Device, later
from tests.support.erasing import delete_rows
from tests.support.locks import until_waiting

if TYPE_CHECKING:
    from lapel.foundation.storage.client import ObjectStore


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


async def test_a_release_after_which_a_hold_is_in_force_is_no_success(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hold is placed just after the release found none in force."""
    recording_id = await device.recording()
    path = f"recordings/{recording_id}"
    await hold(device, path)
    await device.call("DELETE", f"/v1/{path}/hold", 204)
    find = hold_queries.release

    async def and_then_placed(*given: Any) -> hold_queries.HoldRow | None:
        monkeypatch.setattr(hold_queries, "release", find)
        found = await find(*given)
        assert found is None
        await hold(device, path)
        return found

    monkeypatch.setattr(hold_queries, "release", and_then_placed)
    await device.call("DELETE", f"/v1/{path}/hold", 204)
    page = await device.client.get("/v1/holds?active=true", headers=device.headers)
    assert recording_id not in page.text


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


class RefusingStore:
    """The real store, which takes no line about the erasure of one end user."""

    def __init__(self, store: ObjectStore, person: str) -> None:
        self._store = store
        self._person = person

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def put(self, key: str, content: bytes) -> None:
        """As of the real store."""
        if self._person in key and "/holds/" not in key:
            raise StoreUnavailable
        await self._store.put(key, content)


async def test_releases_that_fail_do_not_keep_the_later_ones(
    device: Device, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(legal_holds, "_BATCH", 1)
    first, second = [await device.end_user() for _ in range(2)]
    for person in (first, second):
        await hold(device, f"end-users/{person}")
        await device.call("DELETE", f"/v1/end-users/{person}", 204)
        await delete_rows(ports, device.tenant.test_world, person)
        await device.call("DELETE", f"/v1/end-users/{person}/hold", 204)
    store = cast("ObjectStore", RefusingStore(ports.store, first))
    clock = ManualClock(ports.clock.now() + timedelta(minutes=6))
    await Recordings(replace(ports, store=store, clock=clock)).holds.run_due()
    assert [(await entry(device, each))["state"] for each in (first, second)] == ["held", "open"]
    await later(ports, timedelta(minutes=7)).holds.run_due()
    assert (await entry(device, first))["state"] == "open"
