"""A legal hold postpones an erasure: what is deleted disappears from every answer, and nothing is erased."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from lapel.foundation.ports import Ports
from tests.erasure.support import (
    MORE_THAN_MARGIN,
    REASON,
    WORDS,
    entry,
    erase_released,
    everything,
    hold,
    rounds,
    rows,
)
from tests.recordings.support import Device, events_of, later, staging, until_none
from tests.support.declared import declared_operations
from tests.support.erasing import delete_rows
from tests.support.spoken import complete_transcription
from tests.support.tenants import bearer, make_key

PERSON = "SELECT external_id, name FROM end_users WHERE world_id = $1 AND id = $2"


async def test_a_hold_is_placed_once_listed_released_and_recorded(device: Device, ports: Ports) -> None:
    person = await device.end_user()
    recording_id = await device.recording(end_user_id=person)
    key_id = (await device.call("GET", "/v1/api-keys", 200))["data"][0]["id"]
    for path, kind, resource_id in (
        (f"recordings/{recording_id}", "recording", recording_id),
        (f"end-users/{person}", "end_user", person),
    ):
        placed = await hold(device, path)
        assert placed == {
            "id": placed["id"],
            "project_id": device.tenant.project_id,
            "resource_type": kind,
            "resource_id": resource_id,
            "reason": REASON["reason"],
            "placed_by": {"kind": "key", "id": key_id},
            "created_at": placed["created_at"],
            "released_by": None,
            "released_at": None,
        }
        again = await device.post(f"/v1/{path}/hold", 200, {"reason": "Another"})
        assert again == placed, "the first hold stays"
        for body in ({}, {"reason": ""}, {"reason": " \n"}, {"reason": "x" * 1001}, {"reason": None}):
            assert (await device.post(f"/v1/{path}/hold", 400, body))["error"]["param"] == "reason"
        assert await listed(device, f"?resource_id={resource_id}") == [placed["id"]]
        await device.call("DELETE", f"/v1/{path}/hold", 204)
        await device.call("DELETE", f"/v1/{path}/hold", 204)
        second = (await hold(device, path))["id"]
        assert await listed(device, f"?resource_id={resource_id}") == [second, placed["id"]]
        assert await listed(device, f"?resource_id={resource_id}&active=true") == [second]
        assert await listed(device, f"?resource_id={resource_id}&active=false") == [placed["id"]]
        log = await device.call("GET", f"/v1/audit-log?resource_id={resource_id}", 200)
        actions = [(each["action"], each["resource_type"], each["actor"]["id"]) for each in log["data"]][:3]
        assert actions == [(f"hold.{done}", kind, key_id) for done in ("placed", "released", "placed")]
        assert log["data"][1]["before"] == {"id": placed["id"]}
        assert log["data"][2]["after"] == {"id": placed["id"], "reason": REASON["reason"]}
    for word in ("null", "TRUE", "1"):
        refused = await device.call("GET", f"/v1/holds?active={word}", 400)
        assert refused["error"]["param"] == "active"
    assert len(await listed(device, "?active=true")) == len(await listed(device, "?active=false")) == 2
    assert len(await listed(device, "")) == 4


async def listed(device: Device, filters: str) -> list[str]:
    """The ids of a list of holds."""
    return [each["id"] for each in (await device.call("GET", f"/v1/holds{filters}", 200))["data"]]


async def test_what_nobody_holds_cannot_be_released_and_what_is_deleted_cannot_be_held(
    device: Device, ports: Ports
) -> None:
    person = await device.end_user()
    recording_id = await device.recording(end_user_id=person)
    for path in (f"recordings/{recording_id}", f"end-users/{person}"):
        await device.call("DELETE", f"/v1/{path}/hold", 404)
        await device.call("DELETE", f"/v1/{path}", 204)
        await hold(device, path, 404)
        await device.call("DELETE", f"/v1/{path}/hold", 404)


async def test_a_key_that_may_delete_may_not_release(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    path = f"/v1/recordings/{recording_id}/hold"
    world = device.tenant.test_world
    deleting = bearer(await make_key(ports, world, "rk_test", scopes=("recordings:write",)))
    both = bearer(await make_key(ports, world, "rk_test", scopes=("recordings:write", "audit:read")))
    await device.post(path, 403, REASON, **deleting)
    await device.post(path, 201, REASON, **both)
    await device.call("DELETE", path, 403, None, **deleting)
    await device.call("DELETE", path, 204, None, **both)


async def test_a_hold_is_released_only_where_it_was_placed(device: Device, ports: Ports) -> None:
    """Each path has a scope of its own: who may write recordings may not release an end user's hold."""
    person = await device.end_user()
    recording_id = await device.recording(end_user_id=person)
    for path in (f"recordings/{recording_id}", f"end-users/{person}"):
        await hold(device, path)
    for path in (f"recordings/{person}", f"end-users/{recording_id}"):
        await device.call("DELETE", f"/v1/{path}/hold", 404)
        assert len(await listed(device, f"?active=true&resource_id={path.partition('/')[2]}")) == 1
    for path in (f"recordings/{recording_id}", f"end-users/{person}"):
        for _ in range(2):
            await device.call("DELETE", f"/v1/{path}/hold", 204)


async def test_a_held_recording_that_is_deleted_is_in_no_answer_and_stays(
    device: Device, ports: Ports
) -> None:
    recording_id, media_id = await device.upload(WORDS, name="Secret name")
    await until_none(ports, staging(device, recording_id))
    upload = await device.start(recording_id, type="image")
    await device.put(upload, WORDS)
    made = await device.post("/v1/transcriptions", 201, {"recording_id": recording_id})
    await complete_transcription(ports, device.tenant.test_world, made["id"])
    person = (await device.read(recording_id))["end_user_id"]
    await hold(device, f"recordings/{recording_id}")
    before = (await rows(device, ports, recording_id), await everything(device, ports, recording_id))
    await device.call("DELETE", f"/v1/recordings/{recording_id}", 204)

    own = await entry(device, recording_id)
    assert (own["state"], own["due_at"], own["reason"]) == ("held", None, "request")
    ids = {
        "recording_id": recording_id, "media_id": media_id, "transcription_id": made["id"],
        "end_user_id": person,
    }  # fmt: skip
    walked = 0
    for operation in declared_operations():
        # Ledger, audit log, list of holds and `recording.deleted` name what is deleted, by its id alone.
        if operation.method != "GET" or operation.access.scope in (None, "audit:read"):
            continue
        if operation.path.startswith("/v1/events"):
            continue
        if not set(operation.parameters) <= ids.keys():
            continue
        answer = await device.client.get(operation.path.format(**ids), headers=device.headers)
        walked += 1
        if {"recording_id", "transcription_id"} & set(operation.parameters):
            assert answer.status_code == 404, operation.path
        assert recording_id not in answer.text, operation.path
        assert made["id"] not in answer.text, operation.path
    assert walked > 12
    path = f"/v1/recordings/{recording_id}"
    for method, more, body in (
        ("PATCH", "", {"name": "x"}),
        ("DELETE", "", None),
        ("POST", "/upload-url", {}),
        ("POST", "/upload-complete", {}),
        ("POST", "/download-url", {"media_id": media_id}),
        ("POST", "/transcribe", {}),
        ("POST", "/hold", REASON),
    ):
        await device.call(method, path + more, 404, body)
    await device.post(f"{path}/upload-complete", 401, {}, **bearer(upload["upload_token"]))
    usage = await device.call("GET", "/v1/usage", 200)
    assert (usage["recordings"], usage["media_bytes"]) == (0, 0)
    assert await events_of(ports, device.tenant.test_world, recording_id) == ["recording.deleted"]

    # Days later, after all rounds of the worker.
    days = later(ports, timedelta(days=3))
    for work in (days.reconciler.run_unfinished, days.reconciler.run_walks, days.deletion.run_due):
        await work()
    await rounds(ports, timedelta(days=3)).run_due()
    assert (await rows(device, ports, recording_id), await everything(device, ports, recording_id)) == before


async def test_on_release_everything_is_erased(device: Device, ports: Ports) -> None:
    recording_id, _ = await device.upload(WORDS)
    await hold(device, f"recordings/{recording_id}")
    await device.call("DELETE", f"/v1/recordings/{recording_id}", 204)
    await device.call("DELETE", f"/v1/recordings/{recording_id}/hold", 204)
    await erase_released(ports)
    assert await rows(device, ports, recording_id) == 0
    own = await entry(device, recording_id)
    assert (own["state"], own["due_at"] > own["created_at"]) == ("open", True)
    await rounds(ports, timedelta(minutes=6)).run_due()
    assert await everything(device, ports, recording_id) == []
    assert (await entry(device, recording_id))["state"] == "erased"
    await rounds(ports, MORE_THAN_MARGIN).run_due()
    assert (await entry(device, recording_id))["state"] == "closed"
    kept = (await device.call("GET", f"/v1/holds?resource_id={recording_id}", 200))["data"]
    assert [(each["reason"], each["released_at"] is not None) for each in kept] == [(None, True)]
    assert await events_of(ports, device.tenant.test_world, recording_id) == ["recording.deleted"]


async def test_a_job_erases_what_a_released_hold_kept(device: Device, ports: Ports, worker: None) -> None:
    recording_id, _ = await device.upload(WORDS)
    await hold(device, f"recordings/{recording_id}")
    await device.call("DELETE", f"/v1/recordings/{recording_id}", 204)
    await device.call("DELETE", f"/v1/recordings/{recording_id}/hold", 204)
    for _ in range(200):
        if (await entry(device, recording_id))["state"] == "erased":
            break
        await asyncio.sleep(0.05)
    assert await everything(device, ports, recording_id) == []
    assert await rows(device, ports, recording_id) == 0


async def test_a_hold_released_before_a_deletion_postpones_nothing(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    await hold(device, f"recordings/{recording_id}")
    await device.call("DELETE", f"/v1/recordings/{recording_id}/hold", 204)
    await erase_released(ports)
    assert (await device.read(recording_id))["id"] == recording_id
    await device.call("DELETE", f"/v1/recordings/{recording_id}", 204)
    assert (await entry(device, recording_id))["state"] == "open"
    assert await rows(device, ports, recording_id) == 0


async def test_an_end_users_hold_keeps_present_and_future_recordings(device: Device, ports: Ports) -> None:
    person = await device.end_user()
    present = await device.recording(end_user_id=person)
    await hold(device, f"end-users/{person}")
    future = await device.recording(end_user_id=person)
    own = await device.recording(end_user_id=person)
    await hold(device, f"recordings/{own}")
    for recording_id in (present, future, own):
        await device.call("DELETE", f"/v1/recordings/{recording_id}", 204)
        assert (await entry(device, recording_id))["state"] == "held"
    await device.call("DELETE", f"/v1/end-users/{person}/hold", 204)
    await erase_released(ports)
    states = [(await entry(device, each))["state"] for each in (present, future, own)]
    assert states == ["open", "open", "held"]
    assert [await rows(device, ports, each) for each in (present, future, own)] == [0, 0, 1]
    await device.call("DELETE", f"/v1/recordings/{own}/hold", 204)
    await erase_released(ports)
    assert (await entry(device, own))["state"] == "open"


async def test_a_device_may_announce_a_recording_again_whose_deletion_is_held(device: Device) -> None:
    person = await device.end_user()
    made = (await device.post("/v1/devices", 201, {"serial_number": "HELD-1"}))["id"]
    bound = await device.post(f"/v1/devices/{made}/bind", 200, {"end_user_id": person})
    token = bearer(bound["device_token"])
    announced = {"recording_uuid": "3f2b0a52-9f1c-4c69-8a51-6d0b1a6a1f10", "recording_generation": 1}
    first = (await device.post("/v1/recordings", 201, announced, **token))["id"]
    await hold(device, f"recordings/{first}")
    assert (await device.post("/v1/recordings", 200, announced, **token))["id"] == first
    await device.call("DELETE", f"/v1/recordings/{first}", 204)
    second = (await device.post("/v1/recordings", 201, announced, **token))["id"]
    assert second != first
    assert (await device.post("/v1/recordings", 200, announced, **token))["id"] == second


async def test_of_a_deleted_end_user_only_what_is_held_stays(device: Device, ports: Ports) -> None:
    person = (await device.post("/v1/end-users", 201, {"external_id": "u", "name": "Jane"}))["id"]
    kept, before, gone = [(await device.upload(WORDS, end_user_id=person))[0] for _ in range(3)]
    world = device.tenant.test_world
    for recording_id in (kept, before):
        await hold(device, f"recordings/{recording_id}")
    await device.call("DELETE", f"/v1/recordings/{before}", 204)
    await device.call("DELETE", f"/v1/end-users/{person}", 204)
    assert (await entry(device, person))["state"] == "open"
    await delete_rows(ports, world, person)
    await rounds(ports, MORE_THAN_MARGIN).run_due()
    for resource_id, state in ((person, "held"), (kept, "held"), (before, "held"), (gone, "erased")):
        assert (await entry(device, resource_id))["state"] == state
    assert [await rows(device, ports, each) for each in (kept, before, gone)] == [2, 2, 0]
    async with ports.database.acquire() as connection:
        assert tuple(await connection.fetchrow(PERSON, world, person) or ()) == (None, None)
    for recording_id in (kept, before):
        await device.call("GET", f"/v1/recordings/{recording_id}", 404)
        await hold(device, f"recordings/{recording_id}", 404)
        assert (await entry(device, person))["state"] == "held"
        await device.call("DELETE", f"/v1/recordings/{recording_id}/hold", 204)
        await erase_released(ports)
    assert (await entry(device, person))["state"] == "open"
    await rounds(ports, MORE_THAN_MARGIN).run_due()
    for resource_id in (person, kept, before):
        assert (await entry(device, resource_id))["state"] in ("erased", "closed")
    assert [await everything(device, ports, each) for each in (kept, before, gone)] == [[], [], []]


async def test_a_held_end_user_who_is_deleted_stays_hidden_until_the_release(
    device: Device, ports: Ports
) -> None:
    person = (await device.post("/v1/end-users", 201, {"external_id": "held-u", "name": "Jane"}))["id"]
    recording_id, _ = await device.upload(WORDS, end_user_id=person)
    world = device.tenant.test_world
    await hold(device, f"end-users/{person}")
    await device.call("DELETE", f"/v1/end-users/{person}", 204)
    own = await entry(device, person)
    assert (own["state"], own["due_at"]) == ("held", None)
    await delete_rows(ports, world, person)
    await rounds(ports, MORE_THAN_MARGIN).run_due()
    await device.call("GET", f"/v1/end-users/{person}", 404)
    await hold(device, f"end-users/{person}", 404)
    assert (await device.call("GET", "/v1/end-users?external_id=held-u", 200))["data"] == []
    await device.post("/v1/end-users", 201, {"external_id": "held-u"})  # free for another one
    async with ports.database.acquire() as connection:
        assert tuple(await connection.fetchrow(PERSON, world, person) or ()) == ("held-u", "Jane")
    assert await rows(device, ports, recording_id) == 2
    await device.call("DELETE", f"/v1/end-users/{person}/hold", 204)
    await erase_released(ports)
    async with ports.database.acquire() as connection:
        assert tuple(await connection.fetchrow(PERSON, world, person) or ()) == (None, None)
    assert await rows(device, ports, recording_id) == 0
    await rounds(ports, timedelta(minutes=6)).run_due()
    assert [(await entry(device, each))["state"] for each in (person, recording_id)] == ["erased"] * 2


async def test_a_hold_that_is_released_before_the_last_batch_keeps_nothing(
    device: Device, ports: Ports
) -> None:
    """The jobs of the deletion and of the release run in either order."""
    world = device.tenant.test_world
    for release_first in (True, False):
        person = await device.end_user()
        recording_id = await device.recording(end_user_id=person)
        await hold(device, f"end-users/{person}")
        await device.call("DELETE", f"/v1/end-users/{person}", 204)
        await device.call("DELETE", f"/v1/end-users/{person}/hold", 204)
        if release_first:
            await erase_released(ports)
        await delete_rows(ports, world, person)
        await erase_released(ports)
        await rounds(ports, timedelta(minutes=6)).run_due()
        assert [(await entry(device, each))["state"] for each in (person, recording_id)] == ["erased"] * 2


async def test_a_release_whose_job_was_lost_is_taken_over(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    await hold(device, f"recordings/{recording_id}")
    await device.call("DELETE", f"/v1/recordings/{recording_id}", 204)
    await device.call("DELETE", f"/v1/recordings/{recording_id}/hold", 204)
    assert await later(ports, timedelta(minutes=4)).holds.run_due() == 0
    assert await later(ports, timedelta(minutes=6)).holds.run_due() >= 1
    assert await rows(device, ports, recording_id) == 0
    assert await later(ports, timedelta(minutes=6)).holds.run_due() == 0


async def test_many_recordings_of_a_held_end_user(device: Device, ports: Ports) -> None:
    person = await device.end_user()
    world = device.tenant.test_world
    async with ports.database.acquire() as connection:
        await connection.execute(
            "INSERT INTO recordings (world_id, id, end_user_id, status, source, consent_obtained, created_at,"
            " updated_at) SELECT $1, 'rec_' || n || $2, $2, 'pending', 'device', false, now(), now()"
            " FROM generate_series(1, 1100) n",
            world,
            person,
        )
    await hold(device, f"end-users/{person}")
    await device.call("DELETE", f"/v1/end-users/{person}", 204)
    await delete_rows(ports, world, person)
    counted = "SELECT count(*) FROM erasures WHERE world_id = $1 AND state = $2"
    async with ports.database.acquire() as connection:
        assert await connection.fetchval(counted, world, "held") == 1101
    assert (await device.call("GET", "/v1/usage", 200))["recordings"] == 0
    await device.call("DELETE", f"/v1/end-users/{person}/hold", 204)
    await erase_released(ports)
    async with ports.database.acquire() as connection:
        assert await connection.fetchval(counted, world, "held") == 0
        left = "SELECT count(*) FROM recordings WHERE world_id = $1"
        assert await connection.fetchval(left, world) == 0
        # A worker of another test would erase the objects of each, one after the other.
        await connection.execute("DELETE FROM erasures WHERE world_id = $1", world)
