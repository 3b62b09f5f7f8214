"""A run may end anywhere: each recording is erased as a whole, with one entry and one event, or stays."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.slices.retention.slice import SLICE
from tests.faults.processes import CRASHED, armed, errand, run_schedules
from tests.recordings.support import Device, events_of, objects
from tests.retention.support import DAY, keep, ledger
from tests.support.client import api_client
from tests.support.postgres import create_database, drop_database
from tests.support.running import Running, running
from tests.support.tenants import make_tenant

WORDS = b"words " * 100
HOUR = timedelta(hours=1)


@pytest.mark.deep
@pytest.mark.timeout(240)
async def test_a_run_that_dies_is_finished_by_the_next(
    postgres: EmbeddedPostgres, quick_folder: Path
) -> None:
    url = await asyncio.to_thread(create_database, postgres, "retention", "template")
    async with running(quick_folder / "data", url) as live, api_client(live.url) as client:
        lives = [await dies(live, client, quick_folder, point) for point in SLICE.crash_points]
        for later in (4 * DAY, 4 * DAY + HOUR, 5 * DAY):
            await run_schedules(live.settings, later)
        for device, old, (silent, media_id) in lives:
            entries = await ledger(device)
            assert sorted(each["resource_id"] for each in entries) == sorted([*old, media_id])
            assert {each["state"] for each in entries} == {"closed"}
            for each in old:
                await device.call("GET", f"/v1/recordings/{each}", 404)
                world = device.tenant.test_world
                assert await events_of(live.ports, world, each) == ["recording.deleted"]
            assert (await device.read(silent))["media"] == []
        kept = await objects(live.ports, "")
        assert [each for each in kept if not each.startswith("ledger/")] == []
    await asyncio.to_thread(drop_database, postgres, "retention")


async def dies(
    live: Running, client: httpx.AsyncClient, folder: Path, point: str
) -> tuple[Device, list[str], tuple[str, str]]:
    """A tenant during whose run a process ended at the point. Recordings that are due, and an audio."""
    tenant = await make_tenant(live.ports)
    device = Device(client, tenant, tenant.headers)
    person = await device.end_user()
    old = [(await device.upload(WORDS, end_user_id=person))[0] for _ in range(3)]
    audio = await device.upload(WORDS)
    await keep(device, audio_days=2)
    await keep(device, f"/v1/end-users/{person}/config", recordings_days=2)
    crash, _ = armed(folder, point)
    assert await errand(live.settings, crash, 4 * DAY) == CRASHED, point
    return device, old, audio
