"""Deleted means: 404 at once, gone from the store soon, and nothing comes back."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

import asyncpg
import pytest

from lapel.foundation.core.clock import ManualClock
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.ports import Ports
from lapel.foundation.storage import object_names
from lapel.foundation.storage.client import ObjectStore
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.slices.erasure.service import Erasures
from lapel.slices.recordings.deletion.service import Deletion
from lapel.slices.recordings.payloads import DeleteOfEndUser
from tests.erasure.support import MORE_THAN_MARGIN, WORDS, entry, everything, rounds
from tests.recordings.support import Device, events_of, later, staging, until_none
from tests.support.erasing import delete_rows
from tests.support.locks import until_waiting
from tests.support.tenants import Tenant, bearer


class HoldingOn:
    """The real store, but it deletes nothing of one recording."""

    def __init__(self, store: ObjectStore, recording_id: str) -> None:
        self._store = store
        self._recording_id = recording_id

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def delete_many(self, keys: list[str]) -> None:
        """As of the real store, unless that recording's are among them."""
        if any(self._recording_id in key for key in keys):
            raise StoreUnavailable("PermissionDeniedError: this object is held")
        await self._store.delete_many(keys)


# Which transactions wrote what a deletion leaves.
WRITERS = """
SELECT 'tombstone' AS what, xmin::text AS writer FROM tombstones WHERE id = $1
UNION ALL SELECT 'entry', xmin::text FROM erasures WHERE resource_id = $1
UNION ALL SELECT 'event', xmin::text FROM events WHERE resource_id = $1 AND type = 'recording.deleted'
UNION ALL SELECT 'job', j.xmin::text FROM erasures e, jobs.pgqueuer j
    WHERE e.resource_id = $1 AND convert_from(j.payload, 'UTF8') LIKE '%"' || e.id || '"%'
"""


@pytest.fixture
def only_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deletions erase nothing before their answer."""

    async def nothing(*_: object) -> None:
        return

    monkeypatch.setattr(Erasures, "erase_served", nothing)


@pytest.mark.usefixtures("only_the_job")  # else the entry counts its objects in a transaction of its own
async def test_deleted_it_is_404_everywhere_and_in_no_list(device: Device, ports: Ports) -> None:
    recording_id, media_id = await device.upload(WORDS, name="Secret name")
    path = f"/v1/recordings/{recording_id}"
    upload = await device.start(recording_id, type="image")
    await device.call("DELETE", path, 204)
    for method, more, body in (
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("DELETE", "", None),
        ("POST", "/upload-url", {}),
        ("POST", "/upload-complete", {}),
        ("POST", "/download-url", {"media_id": media_id}),
        ("GET", "/download-url", None),
    ):
        await device.call(method, path + more, 404, body)
    assert (await device.call("GET", "/v1/recordings", 200))["data"] == []
    await device.post(f"{path}/upload-complete", 401, {}, **bearer(upload["upload_token"]))
    assert await events_of(ports, device.tenant.test_world, recording_id) == ["recording.deleted"]
    async with ports.database.acquire() as connection:
        event: bytes = await connection.fetchval(
            "SELECT body FROM events WHERE resource_id = $1", recording_id
        )
        kept = await connection.fetchrow("SELECT * FROM tombstones WHERE id = $1", recording_id)
        written = [tuple(row) for row in await connection.fetch(WRITERS, recording_id)]
    assert sorted(what for what, _ in written) == ["entry", "event", "job", "tombstone"]
    assert len({writer for _, writer in written}) == 1, "all in one transaction"
    data = json.loads(event)["data"]
    assert set(data) == {"id", "project_id", "created_at", "deleted_at", "recording"}
    assert kept is not None
    assert set(kept.keys()) == {"world_id", "id", "created_at", "deleted_at"}


async def test_objects_go_and_the_entry_closes_only_after_a_late_second_look(
    device: Device, ports: Ports
) -> None:
    recording_id, _ = await device.upload(WORDS)
    await until_none(ports, staging(device, recording_id))
    upload = await device.start(recording_id, type="image")
    await device.put(upload, WORDS)
    sealed = object_names.SealedName(device.tenant.project_id, recording_id, "session").key()
    await ports.store.put(sealed, WORDS)
    await device.call("DELETE", f"/v1/recordings/{recording_id}", 204)
    opened = await entry(device, recording_id)
    assert (opened["state"], opened["erased_at"], opened["closed_at"]) == ("open", None, None)
    assert opened["links_expire_at"][:16] == upload["expires_at"][:16]

    await rounds(ports, timedelta(minutes=6)).run_due()
    erased = await entry(device, recording_id)
    assert (erased["state"], erased["objects_erased"]) == ("erased", 3)
    assert await everything(device, ports, recording_id) == []

    await device.put(upload, WORDS)  # its URL is still good
    await rounds(ports, timedelta(minutes=74)).run_due()
    assert (await entry(device, recording_id))["state"] == "erased"
    await rounds(ports, MORE_THAN_MARGIN).run_due()
    closed = await entry(device, recording_id)
    assert (closed["state"], closed["objects_erased"]) == ("closed", 4)
    assert closed["closed_at"] > closed["links_expire_at"]
    assert await everything(device, ports, recording_id) == []


async def test_the_job_erases_without_waiting_for_a_round(device: Device, ports: Ports, worker: None) -> None:
    recording_id, _ = await device.upload(WORDS)
    await device.call("DELETE", f"/v1/recordings/{recording_id}", 204)
    for _ in range(200):
        if (await entry(device, recording_id))["state"] != "open":
            break
        await asyncio.sleep(0.05)
    assert await everything(device, ports, recording_id) == []
    assert (await entry(device, recording_id))["state"] == "erased"


@pytest.mark.usefixtures("only_the_job")
async def test_one_recording_that_the_store_will_not_erase_does_not_keep_the_others(
    device: Device, ports: Ports
) -> None:
    """Such as one under a legal hold of S3."""
    first, second = [(await device.upload(WORDS))[0] for _ in range(2)]
    for recording_id in (first, second):
        await device.call("DELETE", f"/v1/recordings/{recording_id}", 204)
    store = HoldingOn(ports.store, first)
    held = replace(ports, store=cast("ObjectStore", store))
    with pytest.raises(StoreUnavailable):
        await rounds(held, timedelta(minutes=6)).run_due()
    with pytest.raises(StoreUnavailable):
        await rounds(held, timedelta(minutes=7, seconds=1)).run_due()
    assert [(await entry(device, each))["state"] for each in (first, second)] == ["open", "erased"]
    await rounds(ports, timedelta(minutes=9)).run_due()
    assert (await entry(device, first))["state"] == "erased"


async def test_with_an_end_user_go_all_their_recordings(device: Device, ports: Ports) -> None:
    person = await device.end_user()
    mine = [(await device.upload(WORDS, end_user_id=person))[0] for _ in range(3)]
    other, media = await device.upload(WORDS)
    await device.call("DELETE", f"/v1/end-users/{person}", 204)
    await delete_rows(ports, device.tenant.test_world, person)
    for recording_id in mine:
        await device.call("GET", f"/v1/recordings/{recording_id}", 404)
        assert await events_of(ports, device.tenant.test_world, recording_id) == ["recording.deleted"]
    assert [each["id"] for each in (await device.call("GET", "/v1/recordings", 200))["data"]] == [other]

    await rounds(ports, timedelta(minutes=6)).run_due()
    assert [(await entry(device, each))["state"] for each in [*mine, person]] == ["erased"] * 4
    assert [(await entry(device, each))["objects_erased"] for each in [*mine, person]] == [1, 1, 1, 3]
    for recording_id in mine:
        assert await everything(device, ports, recording_id) == []
    await rounds(ports, MORE_THAN_MARGIN).run_due()
    assert [(await entry(device, each))["state"] for each in [*mine, person]] == ["closed"] * 4
    assert (await entry(device, person))["objects_erased"] == 3
    assert await device.download(other, media) == WORDS


async def test_before_any_row_is_changed_nothing_of_a_deleted_end_user_is_there(
    device: Device, ports: Ports
) -> None:
    person = await device.end_user()
    token = (await device.post(f"/v1/end-users/{person}/token", 201, {}))["token"]
    recording_id, media_id = await device.upload(WORDS, end_user_id=person)
    upload = await device.start(recording_id, type="image")
    made = await device.post("/v1/transcriptions", 201, {"recording_id": recording_id})
    other, _ = await device.upload(WORDS)
    await device.call("DELETE", f"/v1/end-users/{person}", 204)
    async with ports.database.acquire() as connection:
        assert await connection.fetchval("SELECT 1 FROM recordings WHERE id = $1", recording_id) == 1
    path = f"/v1/recordings/{recording_id}"
    for method, where, body in (
        ("GET", path, None),
        ("PATCH", path, {"name": "x"}),
        ("DELETE", path, None),
        ("POST", f"{path}/upload-url", {}),
        ("POST", f"{path}/upload-complete", {}),
        ("POST", f"{path}/download-url", {"media_id": media_id}),
        ("GET", f"{path}/download-url", None),
        ("GET", f"{path}/waveform", None),
        ("POST", "/v1/transcriptions", {"recording_id": recording_id}),
        ("GET", f"/v1/transcriptions/{made['id']}", None),
        ("GET", f"/v1/transcriptions/{made['id']}/export?format=txt", None),
        ("POST", "/v1/recordings", {"end_user_id": person}),
    ):
        await device.call(method, where, 404, body)
    for filters in (
        "",
        f"?end_user_id={person}",
        "?status=uploaded",
        f"?status=uploaded&end_user_id={person}",
    ):
        page = await device.call("GET", f"/v1/recordings{filters}", 200)
        assert [each["id"] for each in page["data"]] == ([] if "end_user" in filters else [other])
    for filters in ("", f"?recording_id={recording_id}", "?status=pending", "?include=segments"):
        assert (await device.call("GET", f"/v1/transcriptions{filters}", 200))["data"] == []
    usage = await device.call("GET", "/v1/usage", 200)
    assert (usage["end_users"], usage["recordings"], usage["media_bytes"]) == (1, 1, len(WORDS))
    await device.post(f"{path}/upload-complete", 401, {}, **bearer(upload["upload_token"]))
    await device.call("GET", "/v1/recordings", 401, **bearer(token))


async def state_of(ports: Ports, resource_id: str) -> str:
    """The ledger's."""
    async with ports.database.acquire() as connection:
        return await connection.fetchval("SELECT state FROM erasures WHERE resource_id = $1", resource_id)


async def test_a_batch_is_deleted_in_a_transaction_of_its_own_and_a_killed_job_goes_on(
    device: Device, ports: Ports
) -> None:
    person = await device.end_user()
    await fill(ports, device, person, 600)
    await device.call("DELETE", f"/v1/end-users/{person}", 204)
    world = device.tenant.test_world
    async with ports.database.transaction() as connection:  # the oldest, which is in the last batch
        await connection.fetch("SELECT FROM recordings WHERE id = $1 FOR UPDATE", f"rec_600{person}")
        job = asyncio.create_task(delete_rows(ports, device.tenant.test_world, person))
        await until_waiting(ports, 1)
        async with ports.database.acquire() as beside:
            left = await beside.fetchval("SELECT count(*) FROM recordings WHERE world_id = $1", world)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
    assert 0 < left < 600
    assert await state_of(ports, person) == "open"
    await rounds(ports, timedelta(minutes=6)).run_due()
    assert await state_of(ports, person) == "open"
    assert await later(ports, timedelta(minutes=6)).deletion.run_due() >= 1  # another test's, too
    assert await later(ports, timedelta(minutes=6)).deletion.run_due() == 0
    async with ports.database.acquire() as connection:
        for table, count in (("recordings", 0), ("tombstones", 600), ("events", 600)):
            counted = f"SELECT count(*) FROM {table} WHERE world_id = $1"
            assert await connection.fetchval(counted, world) == count, table
    await rounds(ports, timedelta(minutes=13)).run_due()
    assert await state_of(ports, person) == "erased"


async def test_an_end_user_whose_recordings_cannot_be_deleted_holds_up_no_other(
    device: Device, ports: Ports
) -> None:
    stuck, other = await device.end_user(), await device.end_user()
    for person in (stuck, other):
        await fill(ports, device, person, 1)
        await device.call("DELETE", f"/v1/end-users/{person}", 204)

    async def refuse(connection: object, world_id: int, recording_ids: list[str]) -> None:
        if f"rec_1{stuck}" in recording_ids:
            raise RuntimeError("cannot")

    in_time = replace(ports, clock=ManualClock(ports.clock.now() + timedelta(minutes=6)))
    deletion = Deletion(in_time, Erasures(in_time), [refuse])
    await deletion.run_due()
    async with ports.database.acquire() as connection:
        left = "SELECT id FROM recordings WHERE world_id = $1"
        rows = await connection.fetch(left, device.tenant.test_world)
    assert [row["id"] for row in rows] == [f"rec_1{stuck}"]
    assert await deletion.run_due() == 0, "it comes again later"
    assert await later(ports, timedelta(minutes=12)).deletion.run_due() >= 1


async def test_a_deadlock_that_the_database_broke_is_a_reason_to_try_again(
    device: Device, ports: Ports
) -> None:
    """Who is broken is the database's choice: here it says so at once."""
    person = await device.end_user()
    await fill(ports, device, person, 1)
    await device.call("DELETE", f"/v1/end-users/{person}", 204)

    async def broken(connection: object, world_id: int, recording_ids: list[str]) -> None:
        raise asyncpg.DeadlockDetectedError("deadlock detected")

    with pytest.raises(Unavailable):
        await Deletion(ports, Erasures(ports), [broken]).delete_of_end_user(
            DeleteOfEndUser(device.tenant.test_world, person)
        )
    await delete_rows(ports, device.tenant.test_world, person)
    async with ports.database.acquire() as connection:
        left = "SELECT count(*) FROM recordings WHERE world_id = $1"
        assert await connection.fetchval(left, device.tenant.test_world) == 0


async def fill(ports: Ports, device: Device, person: str, count: int) -> None:
    """So many recordings, the first ones newest."""
    async with ports.database.acquire() as connection:
        await connection.execute(
            "INSERT INTO recordings (world_id, id, end_user_id, status, source, consent_obtained, created_at,"
            " updated_at) SELECT $1, 'rec_' || n || $2, $2, 'pending', 'device', false,"
            " now() - make_interval(secs => n), now() FROM generate_series(1, $3::integer) n",
            device.tenant.test_world,
            person,
            count,
        )


async def test_an_end_user_with_very_many_recordings(device: Device, ports: Ports) -> None:
    person = await device.end_user()
    await fill(ports, device, person, 600)
    await device.call("DELETE", f"/v1/end-users/{person}", 204)
    assert (await device.call("GET", "/v1/recordings", 200))["data"] == []
    await delete_rows(ports, device.tenant.test_world, person)
    async with ports.database.acquire() as connection:
        for table in ("tombstones", "events"):
            count = f"SELECT count(*) FROM {table} WHERE world_id = $1"
            assert await connection.fetchval(count, device.tenant.test_world) == 600
    first = rounds(ports, timedelta(minutes=6))
    await first.run_due()
    async with ports.database.acquire() as connection:
        states = await connection.fetch(
            "SELECT DISTINCT state FROM erasures WHERE world_id = $1", device.tenant.test_world
        )
    assert [row["state"] for row in states] == ["erased"]


async def test_the_ledger_needs_its_scope_and_shows_one_world(
    device: Device, tenant: Tenant, stranger: Tenant
) -> None:
    recording_id = await device.recording()
    await device.call("DELETE", f"/v1/recordings/{recording_id}", 204)
    assert (await entry(device, recording_id))["project_id"] == tenant.project_id
    for headers in (stranger.headers, tenant.live_headers):
        assert (await device.call("GET", "/v1/erasures", 200, **headers))["data"] == []


async def test_an_entry_tells_its_reason_who_asked_and_when_it_is_due(device: Device, ports: Ports) -> None:
    person = await device.end_user()
    alone, with_person = [(await device.upload(WORDS, end_user_id=person))[0] for _ in range(2)]
    key_id = (await device.call("GET", "/v1/api-keys", 200))["data"][0]["id"]
    await device.call("DELETE", f"/v1/recordings/{alone}", 204)
    await device.call("DELETE", f"/v1/end-users/{person}", 204)
    await delete_rows(ports, device.tenant.test_world, person)
    for resource_id, reason in ((alone, "request"), (person, "request"), (with_person, "end_user_deleted")):
        made = await entry(device, resource_id)
        assert (made["reason"], made["requested_by"]) == (reason, {"kind": "key", "id": key_id})
        due, created = (datetime.fromisoformat(made[name]) for name in ("due_at", "created_at"))
        assert due - created == timedelta(days=1)


async def test_the_ledger_is_filtered_by_state_and_resource(device: Device, ports: Ports) -> None:
    person = await device.end_user()
    first, second = [(await device.upload(WORDS))[0] for _ in range(2)]
    await device.call("DELETE", f"/v1/recordings/{first}", 204)
    await rounds(ports, timedelta(minutes=6)).run_due()
    await device.call("DELETE", f"/v1/recordings/{second}", 204)
    await device.call("DELETE", f"/v1/end-users/{person}", 204)
    for filters, found in (
        ("", [person, second, first]),
        ("?state=erased", [first]),
        ("?state=open", [person, second]),
        ("?state=open&resource_type=recording", [second]),
        ("?resource_type=end_user", [person]),
        ("?resource_type=recording", [second, first]),
        ("?resource_type=recording&limit=1&offset=1", [first]),
        (f"?resource_id={first}", [first]),
        (f"?resource_id={first}&state=open", []),
        (f"?resource_id={first}&resource_type=end_user", []),
        ("?resource_id=rec_none", []),
    ):
        page = await device.call("GET", f"/v1/erasures{filters}", 200)
        assert [each["resource_id"] for each in page["data"]] == found, filters
    await device.call("GET", "/v1/erasures?state=gone", 400)
