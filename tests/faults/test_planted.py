"""A real system under load is found sound; then one thing is taken from it, and exactly that is found."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from tests.faults import bucket
from tests.faults.checker import judge
from tests.faults.conclude import conclude, look
from tests.faults.journal import Journal, Promised, Told, read
from tests.faults.lives import INLINE_BYTES
from tests.faults.load import Load
from tests.faults.stubborn import Stubborn
from tests.support.client import api_client
from tests.support.running import Running, running, working
from tests.support.tenants import Tenant, make_tenant

ENOUGH = 8  # promises that stand: three are needed, and each of four clients may still take one back
STRAY = "media/proj_x/rec_x/med_x/att_x/audio.opus"
COPY = """
INSERT INTO local_copies (world_id, recording_id, holder, renewed_at) VALUES ($1, $2, '1-deadbeef', now())
"""
DOUBLE_EVENT = """
INSERT INTO events (world_id, id, type, resource_id, dedupe, body, created_at)
SELECT world_id, id || 'x', type, resource_id, dedupe || 'x', body, created_at
FROM events WHERE type = 'recording.uploaded' AND resource_id = $1
"""


async def kinds(live: Running, tenant: Tenant, told: Told) -> set[tuple[str, str]]:
    """What is found now, without the details."""
    return {(found.kind, found.subject) for found in judge(told, await look(live, tenant, told))}


async def execute(live: Running, statement: str, *arguments: object) -> None:
    """Change a row behind the API's back."""
    connection = await asyncpg.connect(live.settings.database_url)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


@pytest.mark.deep
async def test_a_planted_loss_turns_a_sound_system_red(fresh_database: str, quick_folder: Path) -> None:
    journal = Journal(quick_folder / "journal.jsonl")
    async with running(
        quick_folder / "data", fresh_database, LAPEL_INLINE_HASH_BYTES=str(INLINE_BYTES)
    ) as live:
        tenant = await make_tenant(live.ports)
        async with (
            working(live),
            api_client() as http,
        ):
            load = Load(Stubborn(http, [live.url], journal), tenant.test_key, "planted", 4)
            stop = asyncio.Event()
            loading = asyncio.create_task(load.run(stop))
            # The clients write the journal.
            while len(read(journal.path).standing) < ENOUGH and not loading.done():  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            stop.set()
            await loading
        journal.close()
        assert await conclude(live, tenant, journal) == []
        told = read(journal.path)
        assert len(told.standing) > 3
        await plant(live, tenant, told)


async def plant(live: Running, tenant: Tenant, told: Told) -> None:
    """One fault after the other, each of them found."""
    there = await look(live, tenant, told)
    lost, doubled, gone = told.standing[:3]

    def key(promise: Promised) -> str:
        return there.media[promise.recording_id, promise.media_id].object_key or ""

    expected: set[tuple[str, str]] = set()
    await asyncio.to_thread(bucket.delete, live.settings, key(lost))
    expected |= {("promise-not-served", lost.media_id), ("row-without-object", lost.media_id)}
    assert await kinds(live, tenant, told) == expected

    await asyncio.to_thread(bucket.put, live.settings, STRAY, b"nobody's")
    expected |= {("object-without-row", STRAY)}
    assert await kinds(live, tenant, told) == expected

    again = (
        "INSERT INTO events SELECT world_id, id || 'x', type, resource_id, dedupe || 'x', body, created_at "
    )
    again += "FROM events WHERE type = 'recording.uploaded' AND resource_id = $1"
    await execute(live, again, doubled.recording_id)
    expected |= {("event-surplus", doubled.recording_id)}
    assert await kinds(live, tenant, told) == expected

    left = live.settings.data_dir / "scratch" / "1-deadbeef" / "x" / "audio"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"speech")
    await execute(live, COPY, tenant.test_world, doubled.recording_id)
    expected |= {("audio-in-scratch", "1-deadbeef/x/audio"), ("copy-not-forgotten", doubled.recording_id)}
    assert await kinds(live, tenant, told) == expected

    await execute(live, "DELETE FROM recordings WHERE id = $1", gone.recording_id)
    found = await kinds(live, tenant, told)
    assert found - expected >= {
        ("recording-lost", gone.recording_id),
        ("row-disagrees", gone.media_id),
        ("promise-not-served", gone.media_id),
        ("object-without-row", key(gone)),
        ("event-of-deleted", gone.recording_id),
    }
    assert expected <= found
