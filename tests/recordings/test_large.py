"""Objects above the inline limit: 425 until a job has verified them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from lapel.foundation.queue.queue_connections import QueueConnections
from lapel.foundation.queue.queue_worker import QueueWorker
from lapel.foundation.storage.client import ObjectStore
from lapel.slices.recordings.jobs import handlers
from lapel.slices.recordings.payloads import VerifyUpload
from lapel.slices.recordings.service import Recordings
from tests.recordings.support import Device, HeldStore, events_of, later, objects, sha256, staging, until_none
from tests.support.client import api_client
from tests.support.patience import LONG, patience
from tests.support.running import Running, running, until_worker, working
from tests.support.tenants import make_tenant

LARGE, OTHER, SMALL = b"a long talk " * 2000, b"another one " * 2000, b"short"


@pytest.fixture
async def small_limit(fresh_database: str, data_folder: Callable[[str], Path]) -> AsyncGenerator[Running]:
    """A server that hashes no more than 4 KiB in a call, without a worker."""
    async with running(data_folder("large"), fresh_database, LAPEL_INLINE_HASH_BYTES="4096") as started:
        yield started


@pytest.fixture
async def recorder(small_limit: Running) -> AsyncGenerator[Device]:
    """A client of it."""
    tenant = await make_tenant(small_limit.ports)
    async with api_client(small_limit.url) as client:
        yield Device(client, tenant, tenant.headers)


@pytest.fixture
async def idle_worker(small_limit: Running) -> None:
    """A worker that was seen just now and has not come round to anything yet."""
    async with small_limit.ports.database.acquire() as connection:
        await connection.execute("INSERT INTO workers (process_id, seen_at) VALUES ('idle', now())")


async def uploaded(recorder: Device, content: bytes) -> tuple[str, str]:
    recording_id = await recorder.recording()
    upload = await recorder.start(recording_id)
    await recorder.put(upload, content)
    return recording_id, upload["media_id"]


async def until_verified(recorder: Device, recording_id: str, **facts: object) -> int:
    for _ in range(200):
        answer = await recorder.client.post(
            f"/v1/recordings/{recording_id}/upload-complete", json=facts, headers=recorder.headers
        )
        if answer.status_code != 425:
            return answer.status_code
        assert answer.json()["error"]["code"] == "upload_verification_pending"
        assert int(answer.headers["retry-after"]) >= 1
        await asyncio.sleep(0.05)
    raise AssertionError("it is never verified")


async def test_the_client_repeats_the_identical_request_until_it_is_verified(
    small_limit: Running, recorder: Device
) -> None:
    async with working(small_limit):
        recording_id, media_id = await uploaded(recorder, LARGE)
        await until_worker(small_limit)
        await recorder.complete(recording_id, 425, content_sha256=sha256(LARGE))
        assert await until_verified(recorder, recording_id, content_sha256=sha256(LARGE)) == 200
        done = await recorder.read(recording_id)
        assert (done["status"], done["content_sha256"]) == ("uploaded", sha256(LARGE))
        assert await recorder.download(recording_id, media_id) == LARGE
        ports, project = small_limit.ports, recorder.tenant.project_id
        assert await events_of(ports, recorder.tenant.test_world, recording_id) == [
            "recording.created",
            "recording.uploaded",
        ]
        assert len(await objects(ports, f"media/{project}/{recording_id}/")) == 1
        await until_none(ports, staging(recorder, recording_id))

        refused, _ = await uploaded(recorder, OTHER)
        assert await until_verified(recorder, refused, content_sha256=sha256(LARGE)) == 409
        repeat = await recorder.complete(refused, 409, content_sha256=sha256(LARGE))
        assert repeat["error"]["code"] == "integrity_failure"
        assert (await recorder.read(refused))["status"] == "integrity_failure"


async def test_a_hash_that_contradicts_the_signed_one_never_begins_a_verification(
    small_limit: Running, recorder: Device
) -> None:
    async with working(small_limit):
        recording_id = await recorder.recording()
        upload = await recorder.start(recording_id, sha256=sha256(LARGE))
        await recorder.put(upload, LARGE)
        await until_worker(small_limit)
        refusal = await recorder.complete(recording_id, 409, content_sha256=sha256(OTHER))
        assert refusal["error"]["code"] == "conflict"
        assert await until_verified(recorder, recording_id, content_sha256=sha256(LARGE)) == 200


async def test_without_a_worker_nothing_is_promised(recorder: Device) -> None:
    recording_id, _ = await uploaded(recorder, LARGE)
    refusal = await recorder.complete(recording_id, 503)
    assert refusal["error"]["code"] == "unavailable"
    small, _ = await uploaded(recorder, SMALL)
    assert (await recorder.complete(small))["status"] == "uploaded"


async def test_a_worker_that_was_not_seen_for_30_seconds_does_not_count(
    small_limit: Running, recorder: Device
) -> None:
    recording_id, _ = await uploaded(recorder, LARGE)
    ports = small_limit.ports
    async with ports.database.acquire() as connection:
        await connection.execute(
            "INSERT INTO workers (process_id, seen_at) VALUES ('gone', now() - interval '31 seconds')"
        )
    await recorder.complete(recording_id, 503)


@pytest.mark.usefixtures("idle_worker")
async def test_while_it_is_verified(small_limit: Running, recorder: Device) -> None:
    recording_id, media_id = await uploaded(recorder, LARGE)
    facts = {"content_sha256": sha256(LARGE), "duration_seconds": 4}
    await recorder.complete(recording_id, 425, **facts)
    await recorder.complete(recording_id, 425, **facts)
    await recorder.complete(recording_id, 425)
    assert (await recorder.start(recording_id, 425))["error"]["code"] == "upload_verification_pending"
    conflict = await recorder.complete(recording_id, 409, content_sha256=sha256(OTHER))
    assert conflict["error"]["code"] == "conflict"
    shown = await recorder.read(recording_id)
    assert (shown["status"], shown["media"][0]["status"]) == ("pending", "pending")
    path = f"/v1/recordings/{recording_id}/download-url"
    refusal = await recorder.post(path, 409, {"media_id": media_id})
    assert refusal["error"]["code"] == "media_not_uploaded"

    payload = VerifyUpload(recorder.tenant.test_world, recording_id)
    # Two workers at once, and once more: a job runs at least once.
    verify = small_limit.services[Recordings].completion.verify
    await asyncio.gather(verify(payload), verify(payload))
    await verify(payload)
    done = await recorder.complete(recording_id, **facts)
    assert (done["status"], done["duration_ms"]) == ("uploaded", 4000)
    project = recorder.tenant.project_id
    assert len(await objects(small_limit.ports, f"media/{project}/{recording_id}/")) == 1
    assert await recorder.download(recording_id, media_id) == LARGE


@pytest.mark.usefixtures("idle_worker")
async def test_an_object_that_vanishes_before_it_is_verified(small_limit: Running, recorder: Device) -> None:
    recording_id, _ = await uploaded(recorder, LARGE)
    await recorder.complete(recording_id, 425)
    for key in await objects(small_limit.ports, staging(recorder, recording_id)):
        await small_limit.ports.store.delete(key)
    payload = VerifyUpload(recorder.tenant.test_world, recording_id)
    await small_limit.services[Recordings].completion.verify(payload)
    assert (await recorder.complete(recording_id, 409))["error"]["code"] == "media_not_uploaded"
    await recorder.put(await recorder.start(recording_id), SMALL)
    assert (await recorder.complete(recording_id))["status"] == "uploaded"


@pytest.mark.usefixtures("idle_worker")
async def test_a_verification_whose_job_was_lost_is_enqueued_again(
    small_limit: Running, recorder: Device
) -> None:
    recording_id, _ = await uploaded(recorder, LARGE)
    await recorder.complete(recording_id, 425)
    ports = small_limit.ports
    count = "SELECT count(*) FROM jobs.pgqueuer WHERE entrypoint = 'recordings.verify-upload'"
    async with ports.database.acquire() as connection:
        assert await connection.fetchval(count) == 1
    soon = await later(ports, timedelta(minutes=14)).reconciler.run_unfinished()
    assert "verification_requeued" not in soon
    assert (await later(ports, timedelta(minutes=16)).reconciler.run_unfinished())[
        "verification_requeued"
    ] == 1
    async with ports.database.acquire() as connection:
        assert await connection.fetchval(count) == 1, "the job that is still there is not doubled"
        await connection.execute("DELETE FROM jobs.pgqueuer")
    await later(ports, timedelta(minutes=40)).reconciler.run_unfinished()
    async with ports.database.acquire() as connection:
        assert await connection.fetchval(count) == 1


@pytest.mark.usefixtures("idle_worker")
async def test_deleted_while_it_is_verified(small_limit: Running, recorder: Device) -> None:
    recording_id, _ = await uploaded(recorder, LARGE)
    await recorder.complete(recording_id, 425)
    await recorder.call("DELETE", f"/v1/recordings/{recording_id}", 204)
    job = next(each for each in handlers(small_limit.services[Recordings]) if each.payload is VerifyUpload)
    await job.handler(VerifyUpload(recorder.tenant.test_world, recording_id))
    assert await objects(small_limit.ports, f"media/{recorder.tenant.project_id}/{recording_id}/") == []


@pytest.mark.usefixtures("idle_worker")
async def test_what_was_good_waits_for_the_next_completion_when_the_audio_is_refused(
    small_limit: Running, recorder: Device
) -> None:
    recording_id, _ = await uploaded(recorder, OTHER)
    image = await recorder.start(recording_id, type="image")
    await recorder.put(image, SMALL)
    await recorder.complete(recording_id, 425, content_sha256=sha256(LARGE))
    payload = VerifyUpload(recorder.tenant.test_world, recording_id)
    await small_limit.services[Recordings].completion.verify(payload)
    shown = await recorder.read(recording_id)
    assert shown["status"] == "integrity_failure"
    assert [media["status"] for media in shown["media"]] == ["failed", "pending"]
    assert await objects(small_limit.ports, f"media/{recorder.tenant.project_id}/{recording_id}/") == []
    await recorder.put(await recorder.start(recording_id), SMALL)
    done = await recorder.complete(recording_id, content_sha256=sha256(SMALL))
    assert [media["status"] for media in done["media"]] == ["uploaded", "uploaded"]
    assert await recorder.download(recording_id, image["media_id"]) == SMALL


async def test_a_large_image_that_was_refused_is_not_taken_for_an_earlier_one(
    recorder: Device, small_limit: Running
) -> None:
    recording_id = await recorder.recording()
    facts = {"content_sha256": sha256(LARGE), "file_size_bytes": len(LARGE)}
    async with working(small_limit):
        await until_worker(small_limit)
        for content, status in ((LARGE, 200), (OTHER, 409)):
            upload = await recorder.start(recording_id, type="image")
            await recorder.put(upload, content)
            assert await until_verified(recorder, recording_id, **facts) == status
    assert await until_verified(recorder, recording_id, **facts) == 409


class _HeldProject(HeldStore):
    """Reads back what is another project's at once, and counts those that wait."""

    def __init__(self, store: ObjectStore, project_id: str) -> None:
        super().__init__(store)
        self._prefix = f"media/{project_id}/"
        self.waiting = 0

    async def sha256_of(self, key: str) -> tuple[int, str]:
        if key.startswith(self._prefix):
            self.waiting += 1
            return await super().sha256_of(key)
        return await self._store.sha256_of(key)


@pytest.mark.usefixtures("idle_worker")
async def test_one_world_leaves_places_for_the_verifications_of_others(
    small_limit: Running, recorder: Device
) -> None:
    """However many of its uploads came before theirs, and however long each takes."""
    ports = small_limit.ports
    other = Device(recorder.client, tenant := await make_tenant(ports), tenant.headers)
    many = [(await uploaded(recorder, LARGE))[0] for _ in range(6)]
    one = (await uploaded(other, LARGE))[0]
    for device, recording_id in (*((recorder, each) for each in many), (other, one)):
        await device.complete(recording_id, 425)
    store = _HeldProject(ports.store, recorder.tenant.project_id)
    jobs = handlers(Recordings(replace(ports, store=cast("ObjectStore", store))))
    stop = asyncio.Event()
    worker = QueueWorker(
        QueueConnections(ports.database.dsn), ports.database, jobs, (), grace=60, lane=jobs[0].lane
    )
    running_worker = asyncio.create_task(worker.run(stop))
    try:
        assert await until_verified(other, one) == 200
        async with patience(LONG):
            await store.reached.wait()
        assert store.waiting < 4
        store.let_go.set()
        for each in many:
            assert await until_verified(recorder, each) == 200
    finally:
        store.let_go.set()
        stop.set()
        await running_worker
