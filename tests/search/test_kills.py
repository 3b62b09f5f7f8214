"""A process that computes vectors may end anywhere: each chunk gets one vector, no batch is half there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from lapel.foundation.core import crash_points
from lapel.foundation.ports import Ports, open_ports
from lapel.settings import Settings
from lapel.slices.search.indexing.vector_work import VectorWork
from lapel.slices.search.payloads import EmbedTranscript
from lapel.slices.search.slice import SLICE
from tests.faults.processes import CRASHED, armed
from tests.search.support import Library, segments_of
from tests.search.test_indexing import LONG, Embedder, due_only
from tests.support.forks import FORKS, start, status
from tests.support.tenants import Tenant

POINTS = [each for each in SLICE.crash_points if each.startswith("embed:")]
BATCH = 32
# As if the time of the dead process's lease had passed.
END_LEASE = "UPDATE search_transcripts SET embed_at = now() WHERE world_id = $1 AND lease IS NOT NULL"
# Chunks of the transcript with how many vectors: each appears once for each vector.
EMBEDDED = """
SELECT c.id, v.chunk_id FROM search_chunks c LEFT JOIN search_vectors v
    ON v.world_id = c.world_id AND v.recording_id = c.recording_id AND v.chunk_id = c.id
WHERE c.world_id = $1 AND c.recording_id = $2
"""
STATE = "SELECT model, embed_at, lease FROM search_transcripts WHERE world_id = $1 AND recording_id = $2"


def _embed(environment: Mapping[str, str], crash: str | None) -> None:
    """In the new process: compute what is due."""
    crash_points.arm(crash)
    asyncio.run(_work(Settings.from_env(environment)))


async def _work(settings: Settings) -> None:
    async with open_ports(settings) as ports:
        await VectorWork(ports, Embedder()).work(EmbedTranscript(0, ""))  # type: ignore[arg-type]


async def worker(ports: Ports, crash: str | None = None) -> int | None:
    """The exit status of a process that computes what is due, or ends at a crash point before."""
    forked = FORKS.Process(target=_embed, args=(ports.settings.to_env(), crash))
    await asyncio.to_thread(start, forked)
    return await asyncio.to_thread(status, forked)


@pytest.mark.parametrize("point", POINTS)
async def test_every_chunk_has_one_vector_wherever_a_worker_dies(
    point: str, ports: Ports, tenant: Tenant, tmp_path: Path
) -> None:
    library = Library(ports, tenant)
    recording = await library.said(await library.end_user(), segments_of(LONG))
    await due_only(library)
    chunks = await library.count("search_chunks", recording)
    assert chunks > BATCH
    crash, marker = armed(tmp_path, point)
    assert await worker(ports, crash) == CRASHED
    assert not marker.exists()
    committed = BATCH if point == "embed:committed" else 0
    assert await library.count("search_vectors", recording) == committed
    await library.execute(END_LEASE, library.world_id)
    assert await worker(ports) == 0
    async with ports.database.acquire() as connection:
        rows = await connection.fetch(EMBEDDED, library.world_id, recording)
        state = await connection.fetchrow(STATE, library.world_id, recording)
    assert len(rows) == chunks
    assert all(chunk == embedded for chunk, embedded in rows)
    assert tuple(state or ()) == ("one@1", None, None)
