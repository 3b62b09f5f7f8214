"""What nobody completes is finished or explained; what nobody needs is swept; what is missing is told."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from lapel.foundation.core.clock import Clock, ManualClock
from lapel.foundation.core.ids import TimeOrderedIds
from lapel.foundation.ports import Ports
from lapel.foundation.storage.client import ObjectStore
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.foundation.storage.object_info import ObjectInfo
from tests.recordings.support import Device, events_of, later, objects, sha256, staging, until_none
from tests.support.patience import patience

WORDS, OTHER = b"left behind" * 300, b"not the same" * 300
URL_OVER = timedelta(minutes=61)
DAY_AFTER = timedelta(hours=25, minutes=1)
LONG_AFTER = timedelta(hours=50)


class Refusing:
    """The real store, but it tells nothing of one recording's objects."""

    def __init__(self, store: ObjectStore, recording_id: str) -> None:
        self._store = store
        self._recording_id = recording_id

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def head(self, key: str) -> ObjectInfo:
        """As of the real store, unless it is that recording's."""
        if self._recording_id in key:
            raise StoreUnavailable("PermissionDeniedError: access denied")
        return await self._store.head(key)


def final(device: Device, recording_id: str) -> str:
    return f"media/{device.tenant.project_id}/{recording_id}/"


def copy_of(served: str, clock: Clock) -> str:
    """The name of another copy of a served object, begun now."""
    folder, _, name = served.rpartition("/")
    attempt = folder.rpartition("-")[0]
    return f"{attempt}-{TimeOrderedIds(clock).new('att').removeprefix('att_')}/{name}"


async def found(ports: Ports, kind: str) -> int:
    async with ports.database.acquire() as connection:
        return await connection.fetchval("SELECT found FROM findings WHERE kind = $1", kind) or 0


@pytest.mark.parametrize("put", [True, False])
async def test_a_deleted_end_users_uploads_are_passed_over_until_their_rows_go(
    device: Device, ports: Ports, put: bool
) -> None:
    person = await device.end_user()
    recording_id = await device.recording(end_user_id=person)
    upload = await device.start(recording_id)
    if put:
        await device.put(upload, WORDS)
    await device.call("DELETE", f"/v1/end-users/{person}", 204)
    async with patience(60):
        await later(ports, URL_OVER).reconciler.run_unfinished()
        await later(ports, URL_OVER + timedelta(minutes=1)).reconciler.run_unfinished()
    async with ports.database.acquire() as connection:
        status = "SELECT status FROM media WHERE world_id = $1 AND id = $2"
        kept = await connection.fetchval(status, device.tenant.test_world, upload["media_id"])
    assert kept == "pending"


async def test_an_upload_whose_client_died_is_finished(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id, sha256=sha256(WORDS))
    await device.put(upload, WORDS)
    await later(ports, timedelta(minutes=59)).reconciler.run_unfinished()
    assert (await device.read(recording_id))["status"] == "pending", "its client may still be alive"
    before = await found(ports, "upload_finished")
    counts = await later(ports, URL_OVER).reconciler.run_unfinished()
    assert counts["upload_finished"] >= 1
    assert await found(ports, "upload_finished") == before + counts["upload_finished"]
    shown = await device.read(recording_id)
    assert (shown["status"], shown["content_sha256"]) == ("uploaded", sha256(WORDS))
    assert await device.download(recording_id, upload["media_id"]) == WORDS
    assert (await device.complete(recording_id, content_sha256=sha256(WORDS)))["status"] == "uploaded"
    assert await events_of(ports, device.tenant.test_world, recording_id) == [
        "recording.created",
        "recording.uploaded",
    ]


async def test_one_object_that_the_store_refuses_does_not_keep_the_others(
    device: Device, ports: Ports
) -> None:
    """Such as one whose key was taken from us: its recording is looked at again an hour later."""
    first, second = [await device.recording() for _ in range(2)]
    for recording_id in (first, second):
        await device.put(await device.start(recording_id), WORDS)
    refusing = replace(ports, store=cast("ObjectStore", Refusing(ports.store, first)))
    with pytest.raises(StoreUnavailable):
        await later(refusing, URL_OVER).reconciler.run_unfinished()
    await later(refusing, URL_OVER + timedelta(minutes=5)).reconciler.run_unfinished()
    assert (await device.read(first))["status"] == "pending"
    assert (await device.read(second))["status"] == "uploaded"
    await later(ports, 2 * URL_OVER).reconciler.run_unfinished()
    assert (await device.read(first))["status"] == "uploaded"


async def test_only_media_whose_url_is_over_are_finished(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    audio = await device.start(recording_id)
    await device.put(audio, WORDS)
    image = await device.start(recording_id, type="image")
    await device.put(image, OTHER)
    async with ports.database.acquire() as connection:
        await connection.execute(
            "UPDATE media SET reconcile_at = reconcile_at + interval '1 day' WHERE id = $1",
            image["media_id"],
        )
    await later(ports, URL_OVER).reconciler.run_unfinished()
    shown = await device.read(recording_id)
    assert [media["status"] for media in shown["media"]] == ["uploaded", "pending"]


async def test_media_that_nobody_uploads_expire_a_day_after_their_url(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    await later(ports, timedelta(hours=24, minutes=30)).reconciler.run_unfinished()
    assert (await device.read(recording_id))["media"][0]["status"] == "pending"
    counts = await later(ports, DAY_AFTER).reconciler.run_unfinished()
    assert counts["media_expired"] >= 1
    shown = await device.read(recording_id)
    assert (shown["status"], shown["media"][0]["status"]) == ("failed", "failed")
    assert (await events_of(ports, device.tenant.test_world, recording_id))[-1] == "recording.failed"
    async with ports.database.acquire() as connection:
        why = await connection.fetchval("SELECT failure FROM media WHERE id = $1", upload["media_id"])
    assert "24 hours" in why
    # It is not too late for a fresh start.
    await device.put(await device.start(recording_id), WORDS)
    assert (await device.complete(recording_id))["status"] == "uploaded"


async def test_an_expired_image_leaves_an_uploaded_recording_as_it_is(device: Device, ports: Ports) -> None:
    recording_id, _ = await device.upload(WORDS)
    await device.start(recording_id, type="image")
    before = await device.read(recording_id)
    await later(ports, DAY_AFTER).reconciler.run_unfinished()
    after = await device.read(recording_id)
    assert after["status"] == "uploaded"
    assert [media["status"] for media in after["media"]] == ["uploaded", "failed"]
    assert after["updated_at"] == before["updated_at"]


async def test_an_object_that_is_not_what_was_declared_is_refused(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    await device.put(upload, OTHER)
    async with ports.database.acquire() as connection:  # declared, but by a store that does not check
        await connection.execute(
            "UPDATE upload_attempts SET sha256 = $2 WHERE media_id = $1", upload["media_id"], sha256(WORDS)
        )
    counts = await later(ports, URL_OVER).reconciler.run_unfinished()
    assert counts["upload_refused"] >= 1
    assert (await device.read(recording_id))["status"] == "integrity_failure"
    assert await objects(ports, final(device, recording_id)) == []


async def test_a_copy_that_no_row_serves_is_swept_when_it_is_a_day_old(device: Device, ports: Ports) -> None:
    recording_id, media_id = await device.upload(WORDS)
    (served,) = await objects(ports, final(device, recording_id))
    stray = copy_of(served, ports.clock)
    await ports.store.copy(served, stray)
    await later(ports, timedelta(hours=23)).reconciler.run_walks()
    assert await objects(ports, final(device, recording_id)) == sorted([served, stray])
    counts = await later(ports, DAY_AFTER).reconciler.run_walks()
    assert counts["copy_swept"] >= 1
    assert await objects(ports, final(device, recording_id)) == [served]
    assert await device.download(recording_id, media_id) == WORDS


async def test_a_copy_that_only_the_stores_clock_calls_old_is_not_swept(device: Device, ports: Ports) -> None:
    recording_id, _ = await device.upload(WORDS)
    (served,) = await objects(ports, final(device, recording_id))
    fresh = copy_of(served, ManualClock(ports.clock.now() + DAY_AFTER))
    await ports.store.copy(served, fresh)
    await later(ports, DAY_AFTER).reconciler.run_walks()
    assert await objects(ports, final(device, recording_id)) == sorted([served, fresh])
    await later(ports, 2 * DAY_AFTER).reconciler.run_walks()
    assert await objects(ports, final(device, recording_id)) == [served]


async def test_an_object_with_a_name_that_we_never_give_is_told_and_kept(
    device: Device, ports: Ports
) -> None:
    recording_id, _ = await device.upload(WORDS)
    (served,) = await objects(ports, final(device, recording_id))
    foreign = served.replace("/audio.opus", "x/audio.opus")
    await ports.store.put(foreign, WORDS)
    assert (await later(ports, DAY_AFTER).reconciler.run_walks())["foreign_object"] == 1
    assert await objects(ports, final(device, recording_id)) == sorted([served, foreign])
    await ports.store.delete(foreign)


async def _missing(ports: Ports) -> int:
    """How many rows lack their objects, those of other tests included."""
    return (await later(ports, timedelta()).reconciler.run_walks()).get("object_missing", 0)


async def test_a_row_whose_object_is_gone_is_told_and_kept(device: Device, ports: Ports) -> None:
    recording_id, media_id = await device.upload(WORDS)
    (served,) = await objects(ports, final(device, recording_id))
    others = await _missing(ports)
    await ports.store.delete(served)
    assert await _missing(ports) == others + 1
    assert (await device.read(recording_id))["media"][0]["status"] == "uploaded"
    await device.link(recording_id, media_id)
    await ports.store.put(served, WORDS)
    assert await _missing(ports) == others


async def test_late_puts_are_swept_a_day_after_their_url_and_no_sooner(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    await device.put(upload, WORDS)
    await device.complete(recording_id)
    await until_none(ports, staging(device, recording_id))
    await device.put(upload, OTHER)
    assert len(await objects(ports, staging(device, recording_id))) == 1
    await later(ports, timedelta(hours=24, minutes=59)).reconciler.run_walks()
    assert len(await objects(ports, staging(device, recording_id))) == 1
    counts = await later(ports, DAY_AFTER).reconciler.run_walks()
    assert counts["late_put_swept"] >= 1
    assert await objects(ports, staging(device, recording_id)) == []
    assert await device.download(recording_id, upload["media_id"]) == WORDS


async def test_staged_objects_that_may_still_be_taken_are_never_swept(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    await device.put(await device.start(recording_id), WORDS)
    await later(ports, LONG_AFTER).reconciler.run_walks()
    assert len(await objects(ports, staging(device, recording_id))) == 1
    assert (await device.complete(recording_id))["status"] == "uploaded"


async def test_a_late_put_of_a_deleted_recording_is_swept(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    await device.call("DELETE", f"/v1/recordings/{recording_id}", 204)
    await device.put(upload, WORDS)
    await later(ports, timedelta(hours=24)).reconciler.run_walks()
    assert len(await objects(ports, staging(device, recording_id))) == 1
    await later(ports, DAY_AFTER).reconciler.run_walks()
    assert await objects(ports, staging(device, recording_id)) == []


async def test_what_time_makes_useless_is_pruned(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    await device.put(upload, WORDS)
    await device.complete(recording_id)
    count = "SELECT (SELECT count(*) FROM upload_tokens WHERE recording_id = $1),"
    count += " (SELECT count(*) FROM upload_attempts WHERE media_id = $2)"
    for when, expected in ((timedelta(hours=23), (1, 1)), (LONG_AFTER, (0, 0))):
        await later(ports, when).reconciler.run_unfinished()
        async with ports.database.acquire() as connection:
            left = await connection.fetchrow(count, recording_id, upload["media_id"])
        assert left is not None
        assert tuple(left) == expected
    assert (await device.complete(recording_id, content_sha256=sha256(WORDS)))["status"] == "uploaded"


async def test_two_reconcilers_at_once_do_no_harm(device: Device, ports: Ports) -> None:
    ids: list[str] = []
    for _ in range(5):
        recording_id = await device.recording()
        await device.put(await device.start(recording_id), WORDS)
        ids.append(recording_id)
    at_once = later(ports, URL_OVER).reconciler
    await asyncio.gather(at_once.run_once(), later(ports, URL_OVER).reconciler.run_once())
    for recording_id in ids:
        assert (await device.read(recording_id))["status"] == "uploaded"
        assert len(await objects(ports, final(device, recording_id))) == 1
        events = await events_of(ports, device.tenant.test_world, recording_id)
        assert events == ["recording.created", "recording.uploaded"]


async def test_the_failed_event_says_what_the_recording_shows(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    await device.put(await device.start(recording_id), OTHER)
    await device.complete(recording_id, 409, content_sha256=sha256(WORDS))
    async with ports.database.acquire() as connection:
        body: bytes = await connection.fetchval(
            "SELECT body FROM events WHERE resource_id = $1 AND type = 'recording.failed'", recording_id
        )
    assert json.loads(body)["data"]["recording"] == await device.read(recording_id)
