"""A client that asks for upload URLs without end fills nothing, and one that lost answers is not kept out."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

from lapel.foundation.core.clock import ManualClock
from lapel.foundation.ports import Ports
from lapel.slices.recordings.access import Reach
from lapel.slices.recordings.service import Recordings
from lapel.slices.recordings.uploads.start import MAX_ATTEMPTS
from lapel.slices.recordings.wire import StartUpload
from tests.recordings.support import Device, key_of, objects, staging

WORDS = b"the first and only bytes" * 20


async def kept(ports: Ports, media_id: str) -> int:
    async with ports.database.acquire() as connection:
        return await connection.fetchval("SELECT count(*) FROM upload_attempts WHERE media_id = $1", media_id)


async def ask(device: Device, recording_id: str, times: int) -> list[int]:
    """The statuses of so many calls at once, some of them repeats."""
    path = f"/v1/recordings/{recording_id}/upload-url"
    answers = await asyncio.gather(
        *(
            device.client.post(
                path, json={}, headers={**device.headers, "Idempotency-Key": f"{number % 2}-{number // 3}"}
            )
            for number in range(times)
        )
    )
    return [answer.status_code for answer in answers]


async def test_a_hundred_urls_of_a_media_can_be_used_at_once(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    statuses = [each for _ in range(6) for each in await ask(device, recording_id, 25)]
    assert set(statuses) == {200, 409}
    assert await kept(ports, upload["media_id"]) == MAX_ATTEMPTS
    refusal = await device.start(recording_id, 409)
    assert refusal["error"]["code"] == "conflict"
    assert str(MAX_ATTEMPTS) in refusal["error"]["message"]
    # None of those given out is spoilt, and other media have their own.
    await device.start(recording_id, type="image")
    await device.put(upload, WORDS)
    assert (await device.complete(recording_id))["status"] == "uploaded"


async def start_at(ports: Ports, device: Device, recording_id: str, by: timedelta) -> dict[str, Any]:
    """An upload URL asked for some time later."""
    then = Recordings(replace(ports, clock=ManualClock(ports.clock.now() + by)))
    at = Reach(device.tenant.test_world, recording_id)
    async with ports.database.transaction() as connection:
        actor = await key_of(connection, device.tenant)
        upload = await then.uploads.start(connection, actor, at, StartUpload())
    return {"media_id": upload.media_id, "upload_url": upload.upload_url, "headers": upload.headers}


async def test_when_urls_have_ended_there_are_new_ones_and_the_old_are_forgotten(
    device: Device, ports: Ports
) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    await device.put(upload, WORDS)
    for day in range(4):
        for _ in range(MAX_ATTEMPTS - (day == 0)):
            await start_at(ports, device, recording_id, timedelta(days=2 * day))
        # Those of two days before stay until there are a hundred newer ones.
        assert await kept(ports, upload["media_id"]) <= 2 * MAX_ATTEMPTS
    assert len(await objects(ports, staging(device, recording_id))) == 1


async def test_few_urls_are_never_forgotten(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    await device.put(upload, WORDS)
    for day in range(MAX_ATTEMPTS - 1):
        await start_at(ports, device, recording_id, timedelta(days=day))
    assert await kept(ports, upload["media_id"]) == MAX_ATTEMPTS
    assert (await device.complete(recording_id))["status"] == "uploaded"
