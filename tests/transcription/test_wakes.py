"""New work waits for nobody who looks round from time to time: a job wakes who does it."""

from __future__ import annotations

from pathlib import Path

from lapel.slices.transcription.work import work_queries
from lapel.slices.transcription.work.lifecycle import begin_probe
from tests.transcription.office import BEGINNING, office


async def test_work_that_begins_has_a_job_in_its_own_lane(tmp_path: Path, fresh_database: str) -> None:
    async with office(tmp_path, fresh_database, worker=False) as opened:
        ports = opened.live.ports
        await opened.transcribe()
        recording_id, media_id = await opened.upload(BEGINNING)
        async with ports.database.transaction() as connection:
            world_id = opened.tenant.test_world
            await begin_probe(connection, world_id, recording_id, media_id, ports.clock.now())
        async with ports.database.acquire() as connection:
            lanes = await work_queries.lacking(connection)
    assert [(row.lane, row.lacking) for row in lanes] == [("decode", 0)]
