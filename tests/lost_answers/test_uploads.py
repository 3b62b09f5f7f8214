"""From announcing to completing: one recording, one media, one object, one event."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import NAMESPACE_OID, uuid5

import httpx
import pytest

from lapel.simulate.device.audio import Recorder
from tests.lost_answers.fleet import Bound, Fleet, Json
from tests.lost_answers.losing import Call, Losing
from tests.recordings.support import objects
from tests.support.patience import patience

pytestmark = pytest.mark.deep

AUDIO = Recorder().record(2, "lost")


@dataclass(slots=True)
class Announced:
    """A recording, and where to upload it once that was asked for."""

    device: Bound
    recording_id: str
    upload: Json


async def test_a_recording_is_announced_once_by_its_uuid(lossy: Losing, fleet: Fleet) -> None:
    def call(device: Bound) -> Call:
        body = {"recording_uuid": str(uuid5(NAMESPACE_OID, device.id)), "recording_generation": 1}
        return Call("POST", "/v1/recordings", device.headers, body)

    async def check(device: Bound, answer: httpx.Response) -> None:
        await _is_announced_once(fleet, device, answer)

    await lossy.everywhere(fleet.bound, call, check)


async def test_a_recording_is_announced_once_by_its_key(lossy: Losing, fleet: Fleet) -> None:
    def call(device: Bound) -> Call:
        return Call("POST", "/v1/recordings", {**device.headers, "Idempotency-Key": device.id}, {})

    async def check(device: Bound, answer: httpx.Response) -> None:
        await _is_announced_once(fleet, device, answer)

    await lossy.everywhere(fleet.bound, call, check)


async def test_an_upload_url_is_for_the_one_media(lossy: Losing, fleet: Fleet) -> None:
    async def make() -> Announced:
        device = await fleet.bound()
        return Announced(device, await fleet.recording(device), {})

    def call(announced: Announced) -> Call:
        path = f"/v1/recordings/{announced.recording_id}/upload-url"
        return Call("POST", path, announced.device.headers, _facts())

    uploaded: set[str] = set()

    async def check(announced: Announced, answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.text
        assert await fleet.number("media", recording_id=announced.recording_id) == 1
        if announced.recording_id not in uploaded:  # the answer that came at last is good for an upload
            uploaded.add(announced.recording_id)
            announced.upload = answer.json()
            put = await fleet.client.put(
                announced.upload["upload_url"], headers=announced.upload["headers"], content=AUDIO.data
            )
            assert put.status_code == 200, put.text
            await _complete(fleet, announced)

    await lossy.everywhere(make, call, check)


async def test_a_lost_put_is_repeated_and_its_bytes_are_whole(lossy: Losing, fleet: Fleet) -> None:
    async def make() -> Announced:
        return await _asked(fleet)

    def call(announced: Announced) -> Call:
        upload = announced.upload
        return Call("PUT", upload["upload_url"], upload["headers"], content=AUDIO.data)

    completed: set[str] = set()

    async def check(announced: Announced, answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.text
        if announced.recording_id not in completed:
            completed.add(announced.recording_id)
            await _complete(fleet, announced)
        await _is_kept_once(fleet, announced)

    await lossy.everywhere(make, call, check)


async def test_a_completion_happens_once(lossy: Losing, fleet: Fleet) -> None:
    async def make() -> Announced:
        announced = await _asked(fleet)
        upload = announced.upload
        put = await fleet.client.put(upload["upload_url"], headers=upload["headers"], content=AUDIO.data)
        assert put.status_code == 200, put.text
        return announced

    def call(announced: Announced) -> Call:
        path = f"/v1/recordings/{announced.recording_id}/upload-complete"
        return Call("POST", path, announced.device.headers, {"content_sha256": AUDIO.sha256})

    async def check(announced: Announced, answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.text
        assert (answer.json()["status"], answer.json()["content_sha256"]) == ("uploaded", AUDIO.sha256)
        await _is_kept_once(fleet, announced)

    await lossy.everywhere(make, call, check)


def _facts() -> Json:
    return {"content_type": "audio/opus", "sha256": AUDIO.sha256, "file_size_bytes": len(AUDIO.data)}


async def _asked(fleet: Fleet) -> Announced:
    device = await fleet.bound()
    recording_id = await fleet.recording(device)
    path = f"/v1/recordings/{recording_id}/upload-url"
    return Announced(device, recording_id, await fleet.call("POST", path, device.headers, _facts()))


async def _complete(fleet: Fleet, announced: Announced) -> None:
    path = f"/v1/recordings/{announced.recording_id}/upload-complete"
    done = await fleet.call("POST", path, announced.device.headers, {"content_sha256": AUDIO.sha256})
    assert done["status"] == "uploaded"


async def _is_announced_once(fleet: Fleet, device: Bound, answer: httpx.Response) -> None:
    assert answer.status_code in (200, 201), answer.text
    recording_id = answer.json()["id"]
    assert await fleet.number("recordings", device_id=device.id) == 1
    assert await fleet.number("recordings", id=recording_id) == 1
    assert await fleet.events(recording_id, "recording.created") == 1
    await fleet.works(device.token, device.id)


async def _is_kept_once(fleet: Fleet, announced: Announced) -> None:
    """One event; one final object, whose bytes are right when they are downloaded."""
    assert await fleet.events(announced.recording_id, "recording.uploaded") == 1
    prefix = f"media/{fleet.tenant.project_id}/{announced.recording_id}/"
    # The lost call may still run. It made a copy of its own, which it deletes when it finds the work done.
    async with patience(10):
        while len(await objects(fleet.ports, prefix)) > 1:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.02)
    assert len(await objects(fleet.ports, prefix)) == 1
    path = f"/v1/recordings/{announced.recording_id}/download-url"
    body = {"media_id": announced.upload["media_id"]}
    link = await fleet.call("POST", path, fleet.tenant.headers, body)
    assert (await fleet.client.get(link["download_url"])).content == AUDIO.data
