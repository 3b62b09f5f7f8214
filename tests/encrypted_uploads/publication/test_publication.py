"""A staged object becomes the audio of its recording, and its session gets one receipt."""

from __future__ import annotations

import asyncio
import hashlib

from lapel.foundation.ports import Ports
from lapel.foundation.storage import object_names
from lapel.slices.encrypted_uploads.documents import digests
from lapel.slices.encrypted_uploads.signing.signing_keys import SigningKeys
from tests.encrypted_uploads.publication.support import (
    SAMPLE,
    accepted,
    publish,
    publishing,
    receipt_of,
    row_of,
)
from tests.recordings.support import Device, Json, events_of, objects, sha256


async def test_the_plain_audio_is_served_and_the_receipt_names_it(device: Device, ports: Ports) -> None:
    upload = await accepted(device)
    row = await publish(ports, upload)
    assert (row["state"], row["plaintext_length"]) == ("published", len(SAMPLE))
    assert row["sealed_recipient_key"] is row["lease"] is row["publish_at"] is None
    assert row["clear_at"] == row["published_at"]

    recording = await device.read(upload.recording_id)
    assert (recording["status"], recording["content_sha256"]) == ("uploaded", sha256(SAMPLE))
    assert (recording["mime_type"], recording["encryption_version"]) == ("audio/ogg", 2)
    assert recording["file_size_bytes"] == len(SAMPLE)
    assert 24_000 < recording["duration_ms"] < 26_000
    (media,) = recording["media"]
    assert media["id"] == row["media_id"]
    assert await device.download(upload.recording_id, media["id"]) == SAMPLE
    seen = await device.call("GET", f"/v1/devices/{upload.phone.device_id}", 200)
    assert seen["last_synced_at"] is not None

    receipt = await receipt_of(ports, upload)
    (copy,) = await objects(ports, upload.copies)
    assert receipt.publication == digests.publication(
        ports.settings.s3_bucket, copy, hashlib.sha256(SAMPLE).digest()
    )
    assert receipt.issued_at <= ports.clock.now().timestamp() < receipt.expires_at
    events = await events_of(ports, upload.world_id, upload.recording_id)
    assert events == ["recording.created", "recording.uploaded"]


async def test_published_again_nothing_changes(device: Device, ports: Ports) -> None:
    upload = await accepted(device)
    first = await publish(ports, upload)
    assert await publish(ports, upload) == first


async def test_a_rotation_of_the_signing_key_changes_no_receipt(device: Device, ports: Ports) -> None:
    upload, keys = await accepted(device), SigningKeys(ports)

    async def rotate() -> None:
        async with ports.database.transaction() as connection:
            await keys.rotate(connection, upload.session["project_id"])

    await rotate()
    row = await publish(ports, upload)
    assert (await receipt_of(ports, upload)).signing_key_id == 2, "the key that is active now"
    shown = await upload.phone.read(upload.session)
    await rotate()
    assert await publish(ports, upload) == row
    assert await upload.phone.read(upload.session) == shown


async def test_several_publishers_at_once_issue_one_receipt(device: Device, ports: Ports) -> None:
    upload = await accepted(device)
    async with publishing(ports) as one, publishing(ports) as other:
        await asyncio.gather(*(each.publish(upload.payload) for each in (one, other, one, other)))
    row = await row_of(ports, upload)
    assert row["state"] == "published"
    await receipt_of(ports, upload)
    assert len(await objects(ports, upload.copies)) == 1
    events = await events_of(ports, upload.world_id, upload.recording_id)
    assert events.count("recording.uploaded") == 1


async def test_an_object_of_several_pieces_is_the_same(device: Device, ports: Ports) -> None:
    plaintext = SAMPLE * (20 * 2**20 // len(SAMPLE))  # chained streams
    upload = await accepted(device, plaintext)
    row = await publish(ports, upload)
    assert (row["state"], row["plaintext_length"]) == ("published", len(plaintext))
    recording = await device.read(upload.recording_id)
    assert recording["content_sha256"] == sha256(plaintext)


async def test_an_upload_that_has_begun_otherwise_is_taken_over(device: Device, ports: Ports) -> None:
    begun: list[Json] = []

    async def begin(recording_id: str) -> None:
        begun.append(await device.start(recording_id))
        await device.put(begun[0], b"something else")

    upload = await accepted(device, before=begin)
    await publish(ports, upload)
    (media,) = (await device.read(upload.recording_id))["media"]
    assert (media["id"], media["sha256"]) == (begun[0]["media_id"], sha256(SAMPLE))
    (copy,) = await objects(ports, upload.copies)
    named = object_names.parse(copy)
    assert named is not None
    assert named.media_id == begun[0]["media_id"]
