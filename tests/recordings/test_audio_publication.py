"""The plain audio of an encrypted upload becomes the one audio of its recording, once and for ever."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from lapel.foundation.ports import Ports
from lapel.slices.recordings.access import Reach
from lapel.slices.recordings.audio.audio_publication import AudioOutcome, Outcome
from lapel.slices.recordings.service import PlainAudio, PlainAudioPlace, Recordings
from tests.recordings.support import Device, events_of, later, objects, sha256

CONTENT = b"OggS, opened" * 1000


async def published(
    device: Device,
    ports: Ports,
    recording_id: str,
    place: PlainAudioPlace | None = None,
    *,
    content: bytes = CONTENT,
    by: Recordings | None = None,
    device_id: str = "dev_gone",
    end_user_id: str = "eu_gone",
) -> AudioOutcome:
    """Write the plain audio and publish it, as the slice of encrypted uploads does."""
    recordings, at = by or Recordings(ports), Reach(device.tenant.test_world, recording_id)
    place = place or await recordings.audio_publication.new_place(at.world_id, recording_id)
    assert place is not None
    await ports.store.put(place.object_key, content)
    audio = PlainAudio(place=place, size=len(content), sha256=sha256(content), duration_ms=2500)
    async with ports.database.acquire() as connection:
        undoable = connection.transaction()
        await undoable.start()
        outcome = await recordings.audio_publication.publish(
            connection, at, device_id, end_user_id, "ble", audio
        )
        await (undoable.commit() if outcome.outcome == "published" else undoable.rollback())
    return outcome


async def test_the_recording_has_the_facts_of_the_plain_audio_and_serves_it(
    device: Device, ports: Ports
) -> None:
    recording_id = await device.recording()
    outcome = await published(device, ports, recording_id)
    recording = await device.read(recording_id)
    assert {
        name: recording[name]
        for name in (
            "status", "content_sha256", "file_size_bytes", "mime_type", "duration_ms", "encryption_version",
        )
    } == {
        "status": "uploaded",
        "content_sha256": sha256(CONTENT),
        "file_size_bytes": len(CONTENT),
        "mime_type": "audio/ogg",
        "duration_ms": 2500,
        "encryption_version": 2,
    }  # fmt: skip
    assert recording["content_sha256_verified_at"] is not None
    (media,) = recording["media"]
    assert (media["type"], media["status"], media["sha256"]) == ("audio", "uploaded", sha256(CONTENT))
    assert await device.download(recording_id, media["id"]) == CONTENT
    assert outcome.outcome == "published"
    assert outcome.object_key.startswith(f"media/{device.tenant.project_id}/{recording_id}/{media['id']}/")
    assert await events_of(ports, device.tenant.test_world, recording_id) == [
        "recording.created",
        "recording.uploaded",
    ]


async def test_the_device_has_synced(device: Device, ports: Ports) -> None:
    made = await device.post("/v1/devices", 201, {"serial_number": "SEALED01", "model": "m"})
    path, owner = f"/v1/devices/{made['id']}", await device.end_user()
    # Somebody else wears it by now.
    await device.post(f"{path}/bind", 200, {"end_user_id": await device.end_user()})
    recordings = [await device.recording(end_user_id=owner) for _ in range(2)]
    await published(device, ports, recordings[0], device_id=made["id"], end_user_id=owner)
    assert (await device.call("GET", path, 200))["last_synced_at"] is None
    await device.post(f"{path}/unbind", 200)
    await device.post(f"{path}/bind", 200, {"end_user_id": owner})
    await published(device, ports, recordings[1], device_id=made["id"], end_user_id=owner)
    assert (await device.call("GET", path, 200))["last_synced_at"] is not None


async def test_an_upload_that_has_begun_otherwise_is_taken_over_and_never_accepted(
    device: Device, ports: Ports
) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    await device.put(upload, b"something else")
    assert (await published(device, ports, recording_id)).outcome == "published"
    (media,) = (await device.read(recording_id))["media"]
    assert media["id"] == upload["media_id"]
    await device.put(upload, b"something else")  # the link is still valid
    assert (await device.complete(recording_id))["content_sha256"] == sha256(CONTENT)
    await device.complete(recording_id, 409, content_sha256=sha256(b"something else"))
    await device.start(recording_id, 409)
    assert await device.download(recording_id, media["id"]) == CONTENT


async def test_a_completion_under_way_loses(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    await device.put(await device.start(recording_id), b"something else" * 1000)
    done, _ = await asyncio.gather(
        published(device, ports, recording_id), device.client.post(
            f"/v1/recordings/{recording_id}/upload-complete", json={}, headers=device.headers
        ),
    )  # fmt: skip
    recording = await device.read(recording_id)
    won = sha256(CONTENT) if done.outcome == "published" else sha256(b"something else" * 1000)
    assert recording["content_sha256"] == won
    events = await events_of(ports, device.tenant.test_world, recording_id)
    assert events.count("recording.uploaded") == 1


async def test_an_equal_audio_that_the_recording_has_already_stays(device: Device, ports: Ports) -> None:
    recording_id, media_id = await device.upload(CONTENT)
    outcome = await published(device, ports, recording_id)
    (served,) = {
        key for key in await objects(ports, f"media/{device.tenant.project_id}/{recording_id}/")
        if key.endswith(".opus")
    }  # fmt: skip
    assert outcome == AudioOutcome(outcome="published", media_id=media_id, object_key=served)
    recording = await device.read(recording_id)
    assert (recording["mime_type"], recording["encryption_version"]) == ("audio/opus", 2)
    assert await device.download(recording_id, media_id) == CONTENT


@pytest.mark.parametrize("case", ["other", "erased", "deleted", "another audio", "old copy"])
async def test_what_does_not_fit_any_more_changes_nothing(case: str, device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    world_id = device.tenant.test_world
    recordings = Recordings(ports)
    place = await recordings.audio_publication.new_place(world_id, recording_id)
    expected: Outcome = "other"
    if case in ("other", "erased"):
        await device.put(await device.start(recording_id), b"something else")
        await device.complete(recording_id)
    if case == "erased":
        async with ports.database.acquire() as connection:
            await connection.execute(
                "UPDATE recordings SET audio_erased_at = now() WHERE world_id = $1 AND id = $2",
                world_id,
                recording_id,
            )
    if case == "deleted":
        await device.call("DELETE", f"/v1/recordings/{recording_id}", 204)
        expected = "gone"
    if case == "another audio":
        await device.start(recording_id)
        expected = "stale"
    if case == "old copy":
        recordings, expected = later(ports, timedelta(hours=7)), "stale"
    assert (await published(device, ports, recording_id, place, by=recordings)).outcome == expected
    if case != "deleted":
        assert (await device.read(recording_id))["content_sha256"] != sha256(CONTENT)
    else:
        assert await recordings.audio_publication.new_place(world_id, recording_id) is None


async def test_a_refused_audio_fails_its_recording_with_one_event(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    at = Reach(device.tenant.test_world, recording_id)
    for _ in range(2):
        async with ports.database.transaction() as connection:
            await Recordings(ports).audio_publication.refuse(connection, at, "session-1")
    assert (await device.read(recording_id))["status"] == "integrity_failure"
    events = await events_of(ports, at.world_id, recording_id)
    assert events == ["recording.created", "recording.failed"]
    # Another upload may follow.
    assert (await published(device, ports, recording_id)).outcome == "published"
    async with ports.database.transaction() as connection:
        await Recordings(ports).audio_publication.refuse(connection, at, "session-2")
    assert (await device.read(recording_id))["status"] == "uploaded"
