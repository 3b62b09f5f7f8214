"""The payloads of the jobs of a deletion name the end user, and go with the jobs (docs/privacy.md)."""

from __future__ import annotations

import asyncio

from lapel.foundation.ports import Ports
from tests.erasure.support import WORDS, entry
from tests.recordings.support import Device
from tests.support.patience import patience
from tests.support.running import Running, working

# Jobs whose payload has this text.
NAMING = "SELECT DISTINCT entrypoint FROM jobs.pgqueuer WHERE convert_from(payload, 'UTF8') LIKE $1"
LOGGED = "SELECT entrypoint FROM jobs.pgqueuer_log l WHERE l::text LIKE $1"


async def test_no_job_names_an_end_user_once_the_jobs_of_its_deletion_have_ended(
    device: Device, ports: Ports, live: Running
) -> None:
    person = await device.end_user()
    recording_id, _ = await device.upload(WORDS, end_user_id=person)
    await device.call("DELETE", f"/v1/end-users/{person}", 204)

    async def naming() -> set[str]:
        async with ports.database.acquire() as connection:
            return {row["entrypoint"] for row in await connection.fetch(NAMING, f"%{person}%")}

    assert await naming() == {"recordings.delete-of-end-user"}
    async with working(live), patience(60):
        while await naming() or (await entry(device, person))["state"] != "erased":  # noqa: ASYNC110 - a table
            await asyncio.sleep(0.01)
    assert (await entry(device, recording_id))["state"] == "erased"
    async with ports.database.acquire() as connection:
        assert await connection.fetch(LOGGED, f"%{person}%") == []
