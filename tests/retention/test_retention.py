"""Recordings and audio go when the configuration says so, and only then."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import httpx
import pytest

from lapel.foundation.core.clock import ManualClock
from lapel.foundation.ports import Ports
from lapel.slices.erasure.service import Erasures
from lapel.slices.recordings.service import ErasedKind, Recordings
from lapel.slices.retention import preview_queries, queries
from tests.recordings.support import Device, events_of, objects, sha256, staging, until_none
from tests.retention.support import DAY, after, hold, keep, ledger, preview, release
from tests.support.locks import until_waiting
from tests.support.tenants import Tenant, bearer, make_key, make_tenant

WORDS = b"words " * 100
HOUR = timedelta(hours=1)
OF = "world_id = $1 AND id = $2"
OLD = """
INSERT INTO recordings (world_id, id, end_user_id, status, source, consent_obtained, created_at, updated_at)
SELECT $1, 'rec_' || $2 || n, $2, 'pending', 'device', false, now() - make_interval(days => 100, secs => n),
    now()
FROM generate_series(1, $3::integer) n
"""
PLACED = """
INSERT INTO holds (world_id, id, resource_type, resource_id, reason, placed_by_kind, created_at)
VALUES ($1, 'hld_' || $2, 'recording', $2, 'a case', 'key', now())
"""


async def erase_objects(ports: Ports, by: timedelta) -> None:
    """What the jobs and rounds of the ledger do some time later."""
    await Erasures(replace(ports, clock=ManualClock(ports.clock.now() + by))).run_due()


async def everything(device: Device, ports: Ports, recording_id: str) -> list[str]:
    """All objects of a recording."""
    project = device.tenant.project_id
    return [
        *await objects(ports, staging(device, recording_id)),
        *await objects(ports, f"media/{project}/{recording_id}/"),
    ]


async def test_a_recording_goes_after_its_days_and_not_before(device: Device, ports: Ports) -> None:
    recording_id, _ = await device.upload(WORDS, recorded_at="1970-01-01T00:00:00Z")
    kept, _ = await device.upload(WORDS)
    await keep(device, recordings_days=30)
    await hold(device, kept)
    await after(ports, 30 * DAY - HOUR).run()
    assert (await device.read(recording_id))["id"] == recording_id

    assert await after(ports, 30 * DAY + HOUR).run() == {"recording": 1, "audio": 0}
    await device.call("GET", f"/v1/recordings/{recording_id}", 404)
    await device.read(kept)
    assert await events_of(ports, device.tenant.test_world, recording_id) == ["recording.deleted"]
    (entry,) = await ledger(device)
    assert (entry["resource_type"], entry["resource_id"]) == ("recording", recording_id)
    assert (entry["reason"], entry["requested_by"]["kind"]) == ("retention", "system")
    await erase_objects(ports, 31 * DAY)
    assert await everything(device, ports, recording_id) == []
    assert await after(ports, 30 * DAY + HOUR).run() == {"recording": 0, "audio": 0}


async def test_only_the_audio_goes_and_everything_else_stays(device: Device, ports: Ports) -> None:
    recording_id, media_id = await device.upload(WORDS)
    path = f"/v1/recordings/{recording_id}"
    image = await device.start(recording_id, type="image")
    await device.put(image, b"a picture")
    await device.complete(recording_id)
    made = await device.post("/v1/transcriptions", 201, {"recording_id": recording_id})
    before = await device.read(recording_id)
    await keep(device, audio_days=10)
    assert await after(ports, 9 * DAY).run() == {"recording": 0, "audio": 0}
    assert await after(ports, 10 * DAY + HOUR).run() == {"recording": 0, "audio": 1}

    now = await device.read(recording_id)
    assert [each["id"] for each in now["media"]] == [image["media_id"]]
    for name in ("content_sha256", "content_sha256_verified_at", "file_size_bytes", "mime_type", "status"):
        assert now[name] == before[name] is not None, name
    assert await device.download(recording_id, image["media_id"]) == b"a picture"
    assert (await device.call("GET", f"/v1/transcriptions/{made['id']}", 200))["id"] == made["id"]
    await device.post(f"{path}/download-url", 404, {"media_id": media_id})
    for method, where, body in (
        ("GET", f"{path}/download-url", None),
        ("GET", f"{path}/waveform", None),
        ("POST", "/v1/transcriptions", {"recording_id": recording_id}),
    ):
        error = (await device.call(method, where, 409, body))["error"]
        assert error["code"] == "media_not_uploaded"
        assert "was erased at" in error["message"]
    refused = await device.start(recording_id, 409)
    assert refused["error"]["code"] == "conflict"
    (entry,) = await ledger(device)
    assert (entry["resource_type"], entry["resource_id"], entry["reason"]) == ("media", media_id, "retention")
    await erase_objects(ports, 11 * DAY)
    await until_none(ports, staging(device, recording_id))
    (left,) = await everything(device, ports, recording_id)
    assert image["media_id"] in left
    assert (await ledger(device))[0]["state"] in ("erased", "closed")
    assert await after(ports, 10 * DAY + HOUR).run() == {"recording": 0, "audio": 0}


async def test_a_device_that_lost_the_answer_may_still_repeat_its_completion(
    device: Device, ports: Ports
) -> None:
    recording_id, _ = await device.upload(WORDS)
    await keep(device, audio_days=1)
    assert (await after(ports, 2 * DAY).run())["audio"] == 1
    facts = {"content_sha256": sha256(WORDS), "file_size_bytes": len(WORDS)}
    assert (await device.complete(recording_id, **facts))["status"] == "uploaded"
    await device.complete(recording_id, 409, content_sha256=sha256(b"other"))
    image = await device.start(recording_id, type="image")
    await device.put(image, b"a picture")
    await device.complete(recording_id, 409, content_sha256=sha256(b"other"))
    done = await device.complete(recording_id, **facts)
    assert [each["status"] for each in done["media"]] == ["uploaded"]
    assert done["content_sha256"] == sha256(WORDS)


async def test_a_change_is_in_force_a_day_later_and_until_then_it_can_be_undone(
    device: Device, ports: Ports
) -> None:
    recording_id, _ = await device.upload(WORDS)
    async with ports.database.acquire() as connection:
        await connection.execute(
            "UPDATE recordings SET created_at = created_at - interval '100 days',"
            " uploaded_at = uploaded_at - interval '100 days' WHERE id = $1",
            recording_id,
        )
    await keep(device, recordings_days=1)
    await after(ports, 21 * HOUR).run()
    await device.read(recording_id)
    (item,) = (await preview(device, ports, 7 * DAY))["data"]
    assert item["recording_id"] == recording_id
    await keep(device, recordings_days=200)
    await after(ports, DAY).run()
    await device.read(recording_id)
    await keep(device, recordings_days=1)
    assert (await after(ports, 23 * HOUR).run())["recording"] == 1
    await device.call("GET", f"/v1/recordings/{recording_id}", 404)


async def test_the_shortest_of_all_levels_counts(device: Device, ports: Ports) -> None:
    short, long = await device.end_user(), await device.end_user()
    recorder = (await device.post("/v1/devices", 201, {"serial_number": "RETAIN01", "model": "bota_pin"}))[
        "id"
    ]
    await device.post(f"/v1/devices/{recorder}/bind", 200, {"end_user_id": long})
    first, _ = await device.upload(WORDS, end_user_id=short)
    second, _ = await device.upload(WORDS, end_user_id=long)
    third, _ = await device.upload(WORDS, end_user_id=long, device_id=recorder)
    await keep(device, recordings_days=50)
    await keep(device, f"/v1/end-users/{short}/config", recordings_days=10)
    await keep(device, f"/v1/end-users/{long}/config", recordings_days=90)
    await keep(device, f"/v1/devices/{recorder}/config", recordings_days=20)
    items = (await preview(device, ports, 100 * DAY))["data"]
    assert {each["recording_id"]: (each["rule"]["source"], each["rule"]["days"]) for each in items} == {
        first: ("end_user", 10),
        second: ("project", 50),
        third: ("device", 20),
    }
    for days, gone in ((11, first), (21, third), (51, second)):
        assert (await after(ports, days * DAY).run())["recording"] == 1
        await device.call("GET", f"/v1/recordings/{gone}", 404)


async def test_what_is_held_stays_until_its_release(device: Device, ports: Ports) -> None:
    person = await device.end_user()
    own, _ = await device.upload(WORDS)
    theirs, _ = await device.upload(WORDS, end_user_id=person)
    await keep(device, recordings_days=10, audio_days=5)
    for resource_id in (own, person):
        await hold(device, resource_id)
    shown = await preview(device, ports, 11 * DAY)
    assert [each["held"] for each in shown["data"]] == [True] * 4
    nothing = {"count": 0, "bytes": 0}
    assert shown["totals"] == {"recording": nothing, "audio": nothing, "complete": True}
    assert await after(ports, 11 * DAY).run() == {"recording": 0, "audio": 0}
    assert await after(ports, 90 * DAY).find_late() == (1, 0)
    async with ports.database.transaction() as connection:
        deletion, now = Recordings(ports).deletion, ports.clock.now()
        of = (connection, device.tenant.test_world, [own, theirs], now)
        assert await deletion.delete_old(*of) == 0, "a hold that was placed after the search"
        assert await deletion.erase_old_audio(*of) == 0
    for resource_id in (own, person):
        await release(device, resource_id)
    assert (await after(ports, 90 * DAY).find_late())[1] == 1
    assert await after(ports, 11 * DAY).run() == {"recording": 2, "audio": 0}


async def test_no_world_waits_for_another_and_a_run_ends(device: Device, ports: Ports) -> None:
    other = Device(device.client, await make_tenant(ports), {})
    other = replace(other, headers=other.tenant.headers)
    person = await device.end_user()
    for _ in range(6):
        await device.recording(end_user_id=person)
    alone = await other.recording()
    for each in (device, other):
        await keep(each, recordings_days=1)
    run = after(ports, 3 * DAY, batch=1, turns=6)
    assert (await run.run())["recording"] < 6
    await other.call("GET", f"/v1/recordings/{alone}", 404)
    assert (await device.call("GET", "/v1/recordings", 200))["data"] != []
    await after(ports, 3 * DAY, batch=4).run()
    assert (await device.call("GET", "/v1/recordings", 200))["data"] == []


@pytest.mark.parametrize("kind", ["recording", "audio"])
async def test_a_run_locks_the_end_user_before_the_recording(
    device: Device, ports: Ports, kind: ErasedKind
) -> None:
    """As every other transaction does, so two of them never wait for each other."""
    person, world = await device.end_user(), device.tenant.test_world
    recording_id, _ = await device.upload(WORDS, end_user_id=person)
    field = {"recording": "recordings_days", "audio": "audio_days"}[kind]
    await device.call("PATCH", "/v1/config/retention", 200, {field: 1})
    async with ports.database.transaction() as connection:
        await connection.execute(f"SELECT FROM end_users WHERE {OF} FOR UPDATE", world, person)
        run = asyncio.create_task(after(ports, 3 * DAY).run())
        await until_waiting(ports, 1)
        await connection.execute(f"SELECT FROM recordings WHERE {OF} FOR UPDATE NOWAIT", world, recording_id)
        # A hold that is placed now: the run waits for it, and obeys it.
        await connection.execute(PLACED, world, recording_id)
    assert sum((await run).values()) == 0
    await release(device, recording_id)
    assert (await after(ports, 3 * DAY).run())[kind] == 1


async def test_two_runs_at_once_erase_everything_once(device: Device, ports: Ports) -> None:
    person = await device.end_user()
    ids = [await device.recording(end_user_id=person) for _ in range(20)]
    await keep(device, recordings_days=1)
    runs = [after(ports, 3 * DAY, batch=3) for _ in range(2)]
    done = await asyncio.gather(*(run.run() for run in runs))
    assert sum(each["recording"] for each in done) == 20
    entries = (await device.call("GET", "/v1/erasures?limit=100", 200))["data"]
    assert sorted(each["resource_id"] for each in entries) == sorted(ids)


async def test_a_world_that_fails_does_not_stop_the_others(device: Device, ports: Ports) -> None:
    other = Device(device.client, await make_tenant(ports), {})
    other = replace(other, headers=other.tenant.headers)
    stuck, gone = await device.recording(), await other.recording()
    for each in (device, other):
        await keep(each, recordings_days=1)

    async def refuse(connection: object, world_id: int, recording_ids: list[str]) -> None:
        if stuck in recording_ids:
            raise RuntimeError("cannot")

    run = after(ports, 3 * DAY)
    run._recordings.on_delete.append(refuse)
    await run.run()
    await device.read(stuck)
    await other.call("GET", f"/v1/recordings/{gone}", 404)
    await after(ports, 3 * DAY).run()
    await device.call("GET", f"/v1/recordings/{stuck}", 404)


async def test_a_recording_of_a_deleted_end_user_is_left_to_its_deletion(
    device: Device, ports: Ports
) -> None:
    person = await device.end_user()
    await device.recording(end_user_id=person)
    await keep(device, recordings_days=1)
    await device.call("DELETE", f"/v1/end-users/{person}", 204)
    assert (await preview(device, ports, 3 * DAY))["data"] == []
    assert (await after(ports, 3 * DAY).run())["recording"] == 0


async def test_the_preview_is_paged_counted_and_filtered(
    device: Device, ports: Ports, tenant: Tenant, stranger: Tenant, client: httpx.AsyncClient
) -> None:
    people = [await device.end_user() for _ in range(2)]
    uploaded = [(await device.upload(WORDS, end_user_id=person))[0] for person in people for _ in range(3)]
    image = await device.start(uploaded[0], type="image")
    await device.put(image, b"a picture")
    await device.complete(uploaded[0])
    await keep(device, recordings_days=20, audio_days=10)
    await keep(device, f"/v1/end-users/{people[0]}/config", audio_days=5)
    first = await preview(device, ports, 30 * DAY)
    assert first["totals"] == {
        "recording": {"count": 6, "bytes": len(b"a picture")},
        "audio": {"count": 6, "bytes": 6 * len(WORDS)},
        "complete": True,
    }
    walked, cursor = [], ""
    while True:
        page = await preview(device, ports, 30 * DAY, limit=5, cursor=cursor)
        walked += page["data"]
        if not page["has_more"]:
            break
        cursor = page["next_cursor"]
    assert page["totals"] is None
    assert walked == first["data"]
    assert sorted((each["recording_id"], each["kind"]) for each in walked) == sorted(
        (each, kind) for each in uploaded for kind in ("recording", "audio")
    )
    of_one = await preview(device, ports, 30 * DAY, end_user_id=people[0])
    assert {each["recording_id"] for each in of_one["data"]} == set(uploaded[:3])
    assert of_one["totals"]["audio"] == {"count": 3, "bytes": 3 * len(WORDS)}
    # Without `before`: a week from now.
    soon = await device.call("GET", "/v1/retention/preview", 200)
    assert {(each["kind"], each["rule"]["source"]) for each in soon["data"]} == {("audio", "end_user")}
    # The rule of the end users was just made: it erases nothing before it is in force.
    in_force = {each["rule"]["in_force_at"] for each in soon["data"]}
    assert len(in_force) == 1
    assert max(in_force) <= min(each["falls_due_at"] for each in soon["data"])
    hours = [(datetime.fromisoformat(each) - ports.clock.now()) / timedelta(hours=1) for each in in_force]
    assert all(0 < each <= 22 for each in hours)
    await device.call("GET", "/v1/retention/preview?cursor=x", 400)

    scopes = ("recordings:read", "config:read")
    scoped = await make_key(ports, tenant.test_world, "rk_test", scopes=scopes, end_user_id=people[1])
    for query, expected in (("", 3), (f"&end_user_id={people[0]}", 0)):
        answer = await device.call(
            "GET", f"/v1/retention/preview?before=2100-01-01T00:00:00Z{query}", 200, None, **bearer(scoped)
        )
        assert answer["data"] == [] or {each["end_user_id"] for each in answer["data"]} == {people[1]}
        assert len({each["recording_id"] for each in answer["data"]}) == expected
    for headers in (stranger.headers, tenant.live_headers):
        seen = await device.call("GET", "/v1/retention/preview", 200, None, **headers)
        assert (seen["data"], seen["totals"]["audio"]["count"]) == ([], 0)


async def test_a_run_and_a_preview_pass_many_recordings_that_are_not_theirs(
    device: Device, ports: Ports
) -> None:
    """More held recordings than one statement looks at, and a younger one that nobody holds."""
    person, world = await device.end_user(), device.tenant.test_world
    free = await device.recording()
    many = max(queries.WALKED, preview_queries.WALKED) * 2 + 1
    async with ports.database.acquire() as connection:
        await connection.execute(OLD, world, person, many)
    await hold(device, person)
    await keep(device, recordings_days=1)
    assert (await after(ports, 3 * DAY).find_late())[1] == 1
    assert (await after(ports, 3 * DAY, batch=3).run())["recording"] == 1
    await device.call("GET", f"/v1/recordings/{free}", 404)
    assert (await after(ports, 3 * DAY).find_late())[1] == 0

    late = await device.recording()
    await device.call("DELETE", f"/v1/end-users/{person}", 204)
    shown, cursor, pages = [], "", 0
    while True:
        page = await preview(device, ports, 3 * DAY, cursor=cursor)
        if not pages:
            assert page["totals"]["complete"] is False
        shown += [each["recording_id"] for each in page["data"]]
        pages += 1
        if not page["has_more"]:
            break
        cursor = page["next_cursor"]
    assert shown == [late]
    assert pages > 2, "some pages are empty, because a statement looks at a fixed number of recordings"


async def test_what_was_erased_is_counted_in_the_metrics(device: Device, ports: Ports) -> None:
    await device.upload(WORDS)
    await keep(device, recordings_days=1)
    await after(ports, 3 * DAY).run()
    metrics = (await device.client.get("/metrics")).text
    (line,) = [
        line
        for line in metrics.splitlines()
        if line.startswith('lapel_retention_erased_total{kind="recording"}')
    ]
    assert float(line.split()[-1]) >= 1
