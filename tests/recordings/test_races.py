"""Several at once: whoever loses changes nothing and deletes its own copy."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import cast

import pytest

from lapel.foundation.core.errors import Conflict, NotFound
from lapel.foundation.ports import Ports
from lapel.foundation.storage.client import ObjectStore
from lapel.foundation.storage.object_info import ObjectInfo
from lapel.slices.recordings.access import Reach
from lapel.slices.recordings.uploads.completion import Completion
from lapel.slices.recordings.wire import CompleteUpload
from tests.recordings.support import Device, HeldStore, actor_of, events_of, held, objects, sha256

CONTENT, OTHER = b"what was said" * 1000, b"something else" * 1000


def below(device: Device, recording_id: str, top: str) -> str:
    return f"{top}/{device.tenant.project_id}/{recording_id}/"


async def test_completed_many_times_at_once_it_is_uploaded_once(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    await device.put(upload, CONTENT)
    answers = await asyncio.gather(*(device.complete(recording_id) for _ in range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert (await events_of(ports, device.tenant.test_world, recording_id)).count("recording.uploaded") == 1
    assert len(await objects(ports, below(device, recording_id, "media"))) == 1
    assert await device.download(recording_id, upload["media_id"]) == CONTENT


async def test_the_loser_of_a_race_deletes_its_own_copy_and_answers_like_the_winner(
    device: Device, ports: Ports
) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    await device.put(upload, CONTENT)
    slow, store = held(ports)
    at = Reach(device.tenant.test_world, recording_id)
    losing = asyncio.create_task(slow.completion.complete(actor_of(device.tenant), at, CompleteUpload()))
    await store.reached.wait()
    won = await device.complete(recording_id)
    assert len(await objects(ports, below(device, recording_id, "media"))) == 2
    store.let_go.set()
    lost = await losing
    assert (lost.status, lost.content_sha256) == ("uploaded", won["content_sha256"])
    assert len(await objects(ports, below(device, recording_id, "media"))) == 1
    assert await device.download(recording_id, upload["media_id"]) == CONTENT


async def test_a_loser_whose_facts_differ_from_the_winners_hears_of_the_conflict(
    device: Device, ports: Ports
) -> None:
    recording_id = await device.recording()
    await device.put(await device.start(recording_id), CONTENT)
    slow, store = held(ports)
    body = CompleteUpload(content_sha256=sha256(OTHER))
    at = Reach(device.tenant.test_world, recording_id)
    losing = asyncio.create_task(slow.completion.complete(actor_of(device.tenant), at, body))
    await store.reached.wait()
    await device.complete(recording_id, content_sha256=sha256(CONTENT))
    store.let_go.set()
    with pytest.raises(Conflict):
        await losing
    assert (await device.read(recording_id))["status"] == "uploaded"


async def test_a_put_during_completion_changes_nothing_of_what_was_copied(
    device: Device, ports: Ports
) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    await device.put(upload, CONTENT)
    slow, store = held(ports)
    at = Reach(device.tenant.test_world, recording_id)
    going = asyncio.create_task(slow.completion.complete(actor_of(device.tenant), at, CompleteUpload()))
    await store.reached.wait()
    await device.put(upload, OTHER)
    store.let_go.set()
    done = await going
    assert done.content_sha256 == sha256(CONTENT)
    assert await device.download(recording_id, upload["media_id"]) == CONTENT


async def test_deleted_during_completion_nothing_is_left(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    await device.put(await device.start(recording_id), CONTENT)
    slow, store = held(ports)
    at = Reach(device.tenant.test_world, recording_id)
    going = asyncio.create_task(slow.completion.complete(actor_of(device.tenant), at, CompleteUpload()))
    await store.reached.wait()
    await device.call("DELETE", f"/v1/recordings/{recording_id}", 204)
    store.let_go.set()
    with pytest.raises(NotFound):
        await going
    assert await objects(ports, below(device, recording_id, "media")) == []
    assert await events_of(ports, device.tenant.test_world, recording_id) == ["recording.deleted"]


async def test_two_uploads_of_one_recording_at_once(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    first, second = await asyncio.gather(device.start(recording_id), device.start(recording_id))
    assert first["media_id"] == second["media_id"]
    await asyncio.gather(device.put(first, CONTENT), device.put(second, OTHER))
    answers = await asyncio.gather(device.complete(recording_id), device.complete(recording_id))
    assert answers[0] == answers[1]
    served = await device.download(recording_id, first["media_id"])
    assert sha256(served) == answers[0]["content_sha256"]
    assert served in (CONTENT, OTHER)
    assert len(await objects(ports, below(device, recording_id, "media"))) == 1


async def test_a_url_asked_for_during_completion_does_not_undo_it(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    await device.put(upload, CONTENT)
    slow, store = held(ports)
    at = Reach(device.tenant.test_world, recording_id)
    going = asyncio.create_task(slow.completion.complete(actor_of(device.tenant), at, CompleteUpload()))
    await store.reached.wait()
    fresh = await device.start(recording_id)
    assert fresh["media_id"] == upload["media_id"]
    store.let_go.set()
    assert (await going).status == "uploaded"
    await device.put(fresh, OTHER)
    assert (await device.complete(recording_id))["content_sha256"] == sha256(CONTENT)


async def test_one_recording_for_a_uuid_that_a_device_announces_many_times_at_once(
    device: Device, ports: Ports
) -> None:
    made = await device.post("/v1/devices", 201, {"serial_number": "RACE0001"})
    body = {
        "end_user_id": await device.end_user(),
        "device_id": made["id"],
        "recording_uuid": "6f1c0d3e-0000-4000-8000-0000000000b1",
        "recording_generation": 1,
        "name": "Morning",
    }
    answers = await asyncio.gather(
        *(device.client.post("/v1/recordings", json=body, headers=device.headers) for _ in range(8))
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    ids = {answer.json()["id"] for answer in answers}
    assert len(ids) == 1
    assert await events_of(ports, device.tenant.test_world, ids.pop()) == ["recording.created"]


async def test_more_repeats_at_once_than_there_are_connections(device: Device) -> None:
    recording_id = await device.recording()
    path = f"/v1/recordings/{recording_id}/upload-url"
    first = await device.post(path, 200, {}, **{"Idempotency-Key": "crowd"})
    headers = {**device.headers, "Idempotency-Key": "crowd"}
    answers = await asyncio.gather(*(device.client.post(path, json={}, headers=headers) for _ in range(40)))
    # While one of them looks whether it is a repeat, another hears that the key is in use.
    assert {answer.status_code for answer in answers} <= {200, 409}
    repeated = [answer.json() for answer in answers if answer.status_code == 200]
    assert repeated
    assert {each["media_id"] for each in repeated} == {first["media_id"]}


async def test_facts_of_an_audio_that_a_faster_completion_took_are_compared_not_refused(
    device: Device, ports: Ports
) -> None:
    """Between our look and our search the other one takes the audio; an image is there for us."""
    recording_id = await device.recording()
    await device.put(await device.start(recording_id), CONTENT)
    image = await device.start(recording_id, type="image")
    store = SlowHead(ports.store)
    slow = Completion(replace(ports, store=cast("ObjectStore", store)))
    at = Reach(device.tenant.test_world, recording_id)
    going = asyncio.create_task(
        slow.complete(actor_of(device.tenant), at, CompleteUpload(content_sha256=sha256(CONTENT)))
    )
    await store.reached.wait()
    await device.complete(recording_id, content_sha256=sha256(CONTENT))
    await device.put(image, OTHER)
    store.let_go.set()
    done = await going
    assert [media.status for media in done.media] == ["uploaded", "uploaded"]


class SlowHead(HeldStore):
    """The real store, whose HEAD waits until it is let go."""

    async def head(self, key: str) -> ObjectInfo:
        """As of the real store, later."""
        self.reached.set()
        await self.let_go.wait()
        return await self._store.head(key)
