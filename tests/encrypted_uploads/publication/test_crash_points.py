"""A worker may end anywhere in a publication: it is finished, with one receipt and one event, and nothing
stays behind."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from pathlib import Path

import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.slices.encrypted_uploads import publication
from lapel.slices.encrypted_uploads.slice import SLICE
from tests.encrypted_uploads.publication.support import (
    SAMPLE,
    Accepted,
    accepted,
    publish,
    receipt_of,
    row_of,
)
from tests.faults.processes import armed, instructions, process, run_schedules
from tests.faults.rest import empty
from tests.recordings.support import Device, events_of, objects
from tests.support.client import api_client
from tests.support.postgres import create_database, drop_database
from tests.support.running import Running, running
from tests.support.tenants import make_tenant

POINTS = [point for point in SLICE.crash_points if point.startswith("encrypted-publish:")]
OF_FAILURE = {"before-failure", "failure-written", "failed"}
DAYS = timedelta(days=3)
_CALL = re.compile(r"crash_point\(\s*\"([^\"]+)\"\s*\)")


def test_every_point_is_listed_once_and_every_listed_one_exists() -> None:
    found = [
        name
        for file in Path(publication.__path__[0]).rglob("*.py")
        for name in _CALL.findall(file.read_text())
    ]
    assert sorted(POINTS) == sorted(found)


@pytest.mark.deep
@pytest.mark.timeout(240)
async def test_a_publication_whose_worker_dies_is_finished_once(
    postgres: EmbeddedPostgres, quick_folder: Path
) -> None:
    url = await asyncio.to_thread(create_database, postgres, "publication-kills", "template")
    async with running(quick_folder / "data", url) as live, api_client(live.url) as client:
        tenant = await make_tenant(live.ports)
        device = Device(client, tenant, tenant.headers)
        async with process("worker", live.settings, crash=instructions(quick_folder, POINTS)):
            uploads = [await worker_dies(live, device, quick_folder, point) for point in POINTS]
        rows = [await row_of(live.ports, each) for each in uploads]
        await run_schedules(live.settings, DAYS)
        for upload, row, point in zip(uploads, rows, POINTS, strict=True):
            await assert_finished_once(live, device, upload, failed=point.partition(":")[2] in OF_FAILURE)
            kept = await publish(live.ports, upload)
            assert (kept["state"], kept["receipt"]) == (row["state"], row["receipt"])
    await asyncio.to_thread(drop_database, postgres, "publication-kills")


async def worker_dies(live: Running, device: Device, folder: Path, point: str) -> Accepted:
    """A worker dies at this point; another one, at the same place, finishes."""
    failing = point.partition(":")[2] in OF_FAILURE
    _, marker = armed(folder, point)
    upload = await accepted(device, b"RIFF" + bytes(5000) if failing else SAMPLE)
    async with live.ports.database.acquire() as connection:
        await empty(connection)
    assert not marker.exists(), f"{point} was not reached"
    return upload


async def assert_finished_once(live: Running, device: Device, upload: Accepted, *, failed: bool) -> None:
    ports = live.ports
    row = await row_of(ports, upload)
    events = await events_of(ports, upload.world_id, upload.recording_id)
    if failed:
        assert (row["state"], row["failure_code"], row["receipt"]) == ("failed", "integrity_failed", None)
        assert events.count("recording.failed") == 1
        assert await objects(ports, upload.copies) == []
        return
    assert row["state"] == "published"
    await receipt_of(ports, upload)
    assert events.count("recording.uploaded") == 1
    assert len(await objects(ports, upload.copies)) == 1
    recording = await device.read(upload.recording_id)
    assert await device.download(upload.recording_id, recording["media"][0]["id"]) == SAMPLE
