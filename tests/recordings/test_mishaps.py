"""What goes wrong between two steps of a completion, and what is left of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from lapel.foundation.core.clock import ManualClock
from lapel.foundation.ports import Ports
from lapel.foundation.storage.client import ObjectStore
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.slices.recordings.access import Reach
from lapel.slices.recordings.errors import MediaNotUploaded
from lapel.slices.recordings.uploads.completion import Completion
from lapel.slices.recordings.wire import CompleteUpload
from tests.recordings.support import Device, HeldStore, actor_of, later, objects, staging

WORDS = b"as it was said" * 100


class Store:
    """The real store, but for what a test takes over."""

    def __init__(self, store: ObjectStore, **instead: Any) -> None:
        self._store = store
        self._instead = instead

    def __getattr__(self, name: str) -> Any:
        return self._instead.get(name) or getattr(self._store, name)


def completion_on(ports: Ports, store: object) -> Completion:
    return Completion(replace(ports, store=cast("ObjectStore", store)))


async def staged(device: Device) -> tuple[Reach, str]:
    """A recording whose bytes are in the store, and its media."""
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    await device.put(upload, WORDS)
    return Reach(device.tenant.test_world, recording_id), upload["media_id"]


async def test_a_store_that_goes_away_after_the_claim_does_not_take_the_answer_back(
    device: Device, ports: Ports
) -> None:
    async def away(keys: list[str]) -> None:
        raise StoreUnavailable("gone")

    at, media_id = await staged(device)
    completion = completion_on(ports, Store(ports.store, delete_many=away))
    done = await completion.complete(actor_of(device.tenant), at, CompleteUpload())
    await completion.aclose()
    assert done.status == "uploaded"
    prefix = staging(device, at.recording_id)
    assert len(await objects(ports, prefix)) == 1
    await later(ports, timedelta(hours=25, minutes=1)).reconciler.run_walks()
    assert await objects(ports, prefix) == []
    assert await device.download(at.recording_id, media_id) == WORDS


async def test_an_object_that_vanishes_before_it_is_copied(device: Device, ports: Ports) -> None:
    async def vanished(source: str, target: str, etag: str) -> str | None:
        await ports.store.delete(source)
        return await ports.store.copy_hashed(source, target, etag)

    at, _ = await staged(device)
    with pytest.raises(MediaNotUploaded):
        await completion_on(ports, Store(ports.store, copy_hashed=vanished)).complete(
            actor_of(device.tenant), at, CompleteUpload()
        )
    await device.put(await device.start(at.recording_id), WORDS)
    assert (await device.complete(at.recording_id))["status"] == "uploaded"


async def test_a_copy_that_may_still_be_made_is_not_the_one_that_is_served(
    device: Device, ports: Ports
) -> None:
    """A proxy before the store has answered 504, and the store goes on with its copy of the former bytes."""
    unsure: list[str] = []

    async def copy_hashed(_source: str, target: str, _etag: str) -> str | None:
        unsure.append(target)
        raise StoreUnavailable("504")

    at, media_id = await staged(device)
    completion = completion_on(ports, Store(ports.store, copy_hashed=copy_hashed))
    await completion.complete(actor_of(device.tenant), at, CompleteUpload())
    for late in unsure:
        await ports.store.put(late, b"former bytes")
    assert len(unsure) == 1
    assert await device.download(at.recording_id, media_id) == WORDS


async def test_a_completion_that_slept_for_hours_does_not_claim_a_copy_that_may_be_swept(
    device: Device, ports: Ports
) -> None:
    at, media_id = await staged(device)
    clock, store = ManualClock(ports.clock.now()), HeldStore(ports.store)
    sleepy = Completion(replace(ports, clock=clock, store=cast("ObjectStore", store)))
    going = asyncio.create_task(sleepy.complete(actor_of(device.tenant), at, CompleteUpload()))
    await store.reached.wait()
    prefix = f"media/{device.tenant.project_id}/{at.recording_id}/"
    old = await objects(ports, prefix)
    clock.advance(timedelta(hours=7))
    store.let_go.set()
    assert (await going).status == "uploaded"
    served = await objects(ports, prefix)
    assert len(served) == 1
    assert served != old, "it was copied anew"
    assert await device.download(at.recording_id, media_id) == WORDS


async def test_a_recording_has_a_bounded_number_of_media(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    async with ports.database.acquire() as connection:
        await connection.execute(
            "INSERT INTO media (world_id, id, recording_id, type, status, content_type, created_at,"
            " last_url_expires_at, reconcile_at)"
            " SELECT $1, 'med_' || lpad(n::text, 24, '0'), $2, 'image', 'failed',"
            " 'image/png', now(), now(), now() FROM generate_series(1, $3::int) n",
            device.tenant.test_world,
            recording_id,
            499,
        )
    await device.start(recording_id)
    await device.start(recording_id)
    assert (await device.start(recording_id, 409, type="image"))["error"]["code"] == "conflict"
    assert len((await device.read(recording_id))["media"]) == 500


async def test_an_object_whose_name_is_none_of_ours_is_told_and_left_alone(ports: Ports) -> None:
    await ports.store.put("media/notes.txt", b"somebody's")
    try:
        counts = await later(ports, timedelta(hours=25)).reconciler.run_walks()
        assert counts["foreign_object"] == 1
        assert (await ports.store.head("media/notes.txt")).size == 10
    finally:
        await ports.store.delete("media/notes.txt")
