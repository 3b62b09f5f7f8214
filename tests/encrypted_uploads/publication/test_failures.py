"""What may be wrong with an accepted upload, and what may happen meanwhile."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lapel.cli.doctor.publication_checks import publications
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.core.ids import TimeOrderedIds
from lapel.foundation.identity.seal import SealBroken, sealer
from lapel.foundation.ports import Ports
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.slices.encrypted_uploads.documents import digests
from lapel.slices.encrypted_uploads.publication.publisher import PATIENCE
from tests.encrypted_uploads.publication.support import (
    SAMPLE,
    Accepted,
    Other,
    accepted,
    meanwhile,
    publish,
    publishing,
    receipt_of,
    row_of,
)
from tests.erasure.support import hold
from tests.recordings.support import Device, Json, events_of, objects, sha256
from tests.support.sealed_uploads import seal

JOBS = "SELECT count(*) FROM jobs.pgqueuer WHERE entrypoint = 'encrypted-uploads.publish' AND payload = $1"
NOTHING_WAITS = "UPDATE encrypted_upload_sessions SET publish_at = NULL"
ACCEPTED = """
UPDATE encrypted_upload_sessions SET accepted_at = accepted_at - $3::interval WHERE world_id = $1 AND id = $2
"""
SEALED_KEY = "SELECT sealed_private_key FROM document_signing_keys WHERE project_id = $1"
SET_SEALED_KEY = "UPDATE document_signing_keys SET sealed_private_key = $2 WHERE project_id = $1"
AGE = "UPDATE encrypted_upload_sessions SET publish_at = $3, tries = $4 WHERE world_id = $1 AND id = $2"


async def assert_failed(device: Device, ports: Ports, upload: Accepted, row: Json, code: str) -> None:
    """The session failed for this reason, once, and left nothing behind."""
    assert (row["state"], row["failure_code"], row["receipt"]) == ("failed", code, None)
    assert row["failure_message"].endswith(".")
    assert row["sealed_recipient_key"] is row["lease"] is row["publish_at"] is None
    assert row["clear_at"] is not None
    assert await objects(ports, upload.copies) == []
    assert (await device.read(upload.recording_id))["status"] == "integrity_failure"
    assert await publish(ports, upload) == row
    events = await events_of(ports, upload.world_id, upload.recording_id)
    assert events == ["recording.created", "recording.failed"]


def put(at: int, *values: int) -> Callable[[bytes], bytes]:
    """Other bytes at a place."""
    return lambda stored: stored[:at] + bytes(values) + stored[at + len(values) :]


SWAPPED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "bytes of blocks": (put(9000, *range(32)), "digest_mismatch"),
    "the length of a block": (put(128, 1), "digest_mismatch"),
    "the nonces": (put(50, *bytes(10)), "digest_mismatch"),
    "the magic": (put(0, 1), "invalid_magic"),
    "the recording": (put(28, *bytes(16)), "recording_identity_mismatch"),
    "everything": (lambda stored: os.urandom(len(stored)), "invalid_magic"),
    "shorter": (lambda stored: stored[:-1], "invalid_length"),
    "longer": (lambda stored: stored + b"\x00", "invalid_length"),
    "empty": (lambda _: b"", "invalid_length"),
}


@pytest.mark.parametrize("case", SWAPPED)
async def test_a_staged_object_that_was_swapped_fails(case: str, device: Device, ports: Ports) -> None:
    upload = await accepted(device)
    swap, code = SWAPPED[case]
    await ports.store.put(upload.staging_key, swap(upload.sealed.content))
    await assert_failed(device, ports, upload, await publish(ports, upload), code)


async def test_a_staged_object_that_is_another_sealed_one_fails(device: Device, ports: Ports) -> None:
    upload = await accepted(device)
    other = seal(SAMPLE, recording_uuid=upload.sealed.stored.header.recording_uuid).content
    await ports.store.put(upload.staging_key, upload.sealed.content[:128] + other[128:])
    await assert_failed(device, ports, upload, await publish(ports, upload), "digest_mismatch")


async def test_a_staged_object_that_is_gone_fails(device: Device, ports: Ports) -> None:
    upload = await accepted(device)
    await ports.store.delete(upload.staging_key)
    await assert_failed(device, ports, upload, await publish(ports, upload), "integrity_failed")


@pytest.mark.parametrize(
    ("at", "code"), [(-1, "authentication_failed"), (140, "digest_mismatch"), (-40, "digest_mismatch")]
)
async def test_a_device_that_sealed_wrongly_fails(at: int, code: str, device: Device, ports: Ports) -> None:
    upload = await accepted(device, change_at=at)
    if at == -40:  # zero bytes of the trailer
        code = "noncanonical_encoding"
    await assert_failed(device, ports, upload, await publish(ports, upload), code)


@pytest.mark.parametrize("plaintext", [SAMPLE, b"RIFF" + bytes(5000)])
async def test_another_hash_of_the_plain_text_fails_before_anything_of_its_sound(
    plaintext: bytes, device: Device, ports: Ports
) -> None:
    upload = await accepted(device, plaintext, said_sha256=bytes(32))
    await assert_failed(device, ports, upload, await publish(ports, upload), "authentication_failed")


async def test_another_hash_of_the_plain_text_fails_with_a_store_that_compares_nothing(
    device: Device, ports: Ports
) -> None:
    upload = await accepted(device, said_sha256=hashlib.sha256(b"other").digest())

    @contextmanager
    def write(key: str, size: int, sha256: str) -> Generator[Any]:
        with ports.streams.write(key, size, hashlib.sha256(SAMPLE).hexdigest()) as real:
            yield Other(real, finish=lambda: not real.finish())

    row = await publish(ports, upload, streams=Other(ports.streams, write=write))
    await assert_failed(device, ports, upload, row, "authentication_failed")


@pytest.mark.parametrize(
    "plaintext", [b"RIFF" + bytes(5000), SAMPLE[:-1], SAMPLE + b"\x00", SAMPLE[:4] + b"\x01" + SAMPLE[5:]]
)
async def test_a_plain_text_that_is_no_ogg_with_opus_fails(
    plaintext: bytes, device: Device, ports: Ports
) -> None:
    upload = await accepted(device, plaintext)
    row = await publish(ports, upload)
    assert "Ogg" in row["failure_message"]
    await assert_failed(device, ports, upload, row, "integrity_failed")


async def test_after_a_failure_another_session_may_follow(device: Device, ports: Ports) -> None:
    failed = await accepted(device, b"RIFF" + bytes(5000))
    await publish(ports, failed)
    upload = await accepted(device, again=failed)
    assert (await publish(ports, upload))["state"] == "published"
    assert (await device.read(upload.recording_id))["status"] == "uploaded"


async def test_what_was_uploaded_otherwise_meanwhile_stays(device: Device, ports: Ports) -> None:
    upload = await accepted(device)

    async def uploaded() -> None:
        await device.put(await device.start(upload.recording_id), b"something else")
        await device.complete(upload.recording_id)

    row = await publish(ports, upload, streams=meanwhile(ports, uploaded))
    assert (row["state"], row["failure_code"]) == ("failed", "replay_conflict")
    recording = await device.read(upload.recording_id)
    assert (recording["status"], recording["content_sha256"]) == ("uploaded", sha256(b"something else"))
    assert len(await objects(ports, upload.copies)) == 1


async def test_an_equal_audio_that_was_uploaded_meanwhile_gets_the_receipt(
    device: Device, ports: Ports
) -> None:
    upload = await accepted(device)

    async def uploaded() -> None:
        await device.put(await device.start(upload.recording_id), SAMPLE)
        await device.complete(upload.recording_id)

    row = await publish(ports, upload, streams=meanwhile(ports, uploaded))
    assert row["state"] == "published"
    (copy,) = await objects(ports, upload.copies)
    receipt = await receipt_of(ports, upload)
    assert receipt.publication == digests.publication(
        ports.settings.s3_bucket, copy, bytes.fromhex(sha256(SAMPLE))
    )


async def test_an_upload_that_begins_meanwhile_is_taken_over(device: Device, ports: Ports) -> None:
    upload = await accepted(device)
    begun: list[Json] = []

    async def begin() -> None:
        begun.append(await device.start(upload.recording_id))

    row = await publish(ports, upload, streams=meanwhile(ports, begin))
    assert (row["state"], row["media_id"]) == ("published", begun[0]["media_id"])
    (copy,) = await objects(ports, upload.copies)
    assert begun[0]["media_id"] in copy


async def test_a_publisher_whose_lease_is_lost_changes_nothing(device: Device, ports: Ports) -> None:
    upload = await accepted(device)
    rows: list[Json] = []

    async def overtaken() -> None:
        rows.append(await publish(ports, upload))

    assert [await publish(ports, upload, streams=meanwhile(ports, overtaken))] == rows
    assert len(await objects(ports, upload.copies)) == 1
    events = await events_of(ports, upload.world_id, upload.recording_id)
    assert events.count("recording.uploaded") == 1


@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("what", ["recording", "end user"])
async def test_a_recording_that_is_deleted_is_not_published(
    what: str, when: str, device: Device, ports: Ports
) -> None:
    upload = await accepted(device)
    recording = await device.read(upload.recording_id)
    path = {
        "recording": f"recordings/{upload.recording_id}",
        "end user": f"end-users/{recording['end_user_id']}",
    }

    async def delete() -> None:
        await device.call("DELETE", f"/v1/{path[what]}", 204)

    if when == "before":
        await delete()
    async with publishing(ports, streams=meanwhile(ports, delete)) as publisher:
        await publisher.publish(upload.payload)
    await device.call("GET", f"/v1/recordings/{upload.recording_id}", 404)
    assert await objects(ports, upload.copies) == []
    events = await events_of(ports, upload.world_id, upload.recording_id)
    assert "recording.uploaded" not in events


async def test_a_deleted_recording_under_a_hold_keeps_the_upload_as_it_is(
    device: Device, ports: Ports
) -> None:
    upload = await accepted(device)
    await hold(device, f"recordings/{upload.recording_id}")
    await device.call("DELETE", f"/v1/recordings/{upload.recording_id}", 204)
    row = await publish(ports, upload)
    assert (row["state"], row["publish_at"], row["receipt"]) == ("processing", None, None)
    assert row["sealed_recipient_key"] is not None
    assert (await ports.store.head(upload.staging_key)).size == len(upload.sealed.content)


async def test_a_held_recording_is_published(device: Device, ports: Ports) -> None:
    upload = await accepted(device)
    await hold(device, f"recordings/{upload.recording_id}")
    assert (await publish(ports, upload))["state"] == "published"


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_device_that_is_unbound_or_deleted_meanwhile_loses_nothing(
    deleted: bool, device: Device, ports: Ports
) -> None:
    upload = await accepted(device)
    path = f"/v1/devices/{upload.phone.device_id}"

    async def unbind() -> None:
        await device.post(f"{path}/unbind", 200)
        if deleted:
            await device.call("DELETE", path, 204)

    row = await publish(ports, upload, streams=meanwhile(ports, unbind))
    assert row["state"] == "published"
    await receipt_of(ports, upload)


async def test_metrics_and_doctor_tell_of_what_waits(device: Device, ports: Ports) -> None:
    async def waiting() -> tuple[str, float]:
        families = text_string_to_metric_families((await device.client.get("/metrics")).text)
        values = {each.name: each.samples[0].value for each in families if each.samples}
        async with ports.database.acquire() as connection:
            finding = await publications(connection)
        return finding.state, values["lapel_publication_waiting_seconds"]

    async with ports.database.acquire() as connection:
        await connection.execute(NOTHING_WAITS)
        assert await waiting() == ("ok", 0)
        upload = await accepted(device)
        await connection.execute(ACCEPTED, upload.world_id, upload.session_id, timedelta(minutes=16))
        state, seconds = await waiting()
        assert (state, 960 <= seconds < 1200) == ("warning", True)
    await publish(ports, upload)
    assert await waiting() == ("ok", 0)


@pytest.mark.parametrize("method", ["read", "write"])
async def test_while_the_store_is_away_nothing_is_lost(method: str, device: Device, ports: Ports) -> None:
    upload = await accepted(device)

    def away(*_: Any, **options: object) -> Any:
        raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        await publish(ports, upload, streams=Other(ports.streams, **{method: away}))
    assert (await row_of(ports, upload))["state"] == "processing"
    assert (await device.read(upload.recording_id))["status"] == "pending"
    assert (await publish(ports, upload))["state"] == "published"


def unconfirmed(ports: Ports) -> Any:
    """The real streams, to a store that does not say that it compared a SHA-256."""

    @contextmanager
    def write(key: str, size: int, sha256: str) -> Generator[Any]:
        with ports.streams.write(key, size, sha256) as upload:

            def finish() -> bool:
                upload.finish()
                return False

            yield Other(upload, finish=finish)

    return Other(ports.streams, write=write)


async def test_what_a_store_does_not_compare_is_read_back(device: Device, ports: Ports) -> None:
    read: list[str] = []

    async def sha256_of(key: str, **options: int) -> tuple[int, str]:
        read.append(key)
        return await ports.store.sha256_of(key, **options)

    upload = await accepted(device)
    row = await publish(
        ports, upload, streams=unconfirmed(ports), store=Other(ports.store, sha256_of=sha256_of)
    )
    assert row["state"] == "published"
    assert read == await objects(ports, upload.copies)


async def test_a_store_that_returns_other_bytes_gets_no_receipt(device: Device, ports: Ports) -> None:
    upload = await accepted(device)

    async def other(key: str, **options: object) -> tuple[int, str]:
        return len(SAMPLE), "00" * 32

    with pytest.raises(StoreUnavailable):
        await publish(ports, upload, streams=unconfirmed(ports), store=Other(ports.store, sha256_of=other))
    row = await row_of(ports, upload)
    assert (row["state"], row["receipt"]) == ("processing", None)
    assert await objects(ports, upload.copies) == []


async def test_with_another_secret_nothing_is_lost(device: Device, ports: Ports) -> None:
    upload = await accepted(device)
    with pytest.raises(SealBroken):
        await publish(ports, upload, sealer=sealer("another secret that is long enough", None))
    assert (await publish(ports, upload))["state"] == "published"


async def test_tries_without_a_signing_key_leave_no_objects(device: Device, ports: Ports) -> None:
    upload = await accepted(device)
    project_id = upload.session["project_id"]
    async with ports.database.acquire() as connection:
        sealed_key = await connection.fetchval(SEALED_KEY, project_id)
        await connection.execute(SET_SEALED_KEY, project_id, b"of another secret")
        with pytest.raises(Unavailable):
            await publish(ports, upload)
        assert await objects(ports, upload.copies) == []
        await connection.execute(SET_SEALED_KEY, project_id, sealed_key)
    assert (await publish(ports, upload))["state"] == "published"


@pytest.mark.parametrize("by", [timedelta(days=-400), timedelta(days=400)])
async def test_clocks_that_differ_do_not_matter(by: timedelta, device: Device, ports: Ports) -> None:
    upload = await accepted(device)
    other = ManualClock(ports.clock.now() + by)
    row = await publish(ports, upload, clock=other, ids=TimeOrderedIds(other))
    assert row["state"] == "published"
    assert row["published_at"] == other.now()


async def test_a_lost_job_is_made_again_later_and_later(device: Device, ports: Ports) -> None:
    upload = await accepted(device)
    now = ports.clock.now()

    async def made(tries: int) -> int:
        async with ports.database.acquire() as connection:
            await connection.execute(AGE, upload.world_id, upload.session_id, now - PATIENCE, tries)
            async with publishing(ports) as publisher:
                await publisher.run_due()
                await publisher.run_due()
            size = (await row_of(ports, upload))["ciphertext_length"]
            payload = f'{{"world_id":{upload.world_id},"session_id":"{upload.session_id}","size":{size}}}'
            return await connection.fetchval(JOBS, payload.encode())

    waits: list[timedelta] = []
    for tries in (0, 7, 8, 1_000_000):
        assert await made(tries) == 1
        waits.append((await row_of(ports, upload))["publish_at"] - now)
    quarter = timedelta(minutes=15)
    for wait, least in zip(waits, (quarter, quarter, 2 * quarter, timedelta(days=1)), strict=True):
        assert least <= wait < least + timedelta(minutes=1)
