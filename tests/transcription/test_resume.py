"""After a kill, the next worker computes the pieces that are missing, no other ones, and decodes nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from lapel.foundation.workers.worker_process import WorkerProcess
from lapel.sample import speech
from lapel.slices.transcription.audio.decoder_messages import Decode
from lapel.slices.transcription.speech.word_error import word_error
from tests.faults.processes import process
from tests.support.patience import patience
from tests.transcription.needs import needs_weights
from tests.transcription.office import SLOW, SPEECH, Office, office

pytestmark = [needs_weights, pytest.mark.deep]
# Whenever a worker writes what it computed for a piece.
COUNTED = """
CREATE TABLE computed (stage text, piece integer);
CREATE FUNCTION count_computed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO computed VALUES (new.stage, new.piece); RETURN new; END $$;
CREATE TRIGGER counted AFTER INSERT OR UPDATE ON transcription_pieces
    FOR EACH ROW EXECUTE FUNCTION count_computed()
"""
CUTS = "UPDATE audio_facts SET cuts = $3 WHERE world_id = $1 AND recording_id = $2"
IS_PROBED = "SELECT count(*) FROM audio_facts WHERE recording_id = $1 AND duration_ms IS NOT NULL"
IS_TRANSCRIBING = "SELECT count(*) FROM computed"


def note_decodes(notes: Path) -> None:
    """In a worker: note each file of samples that a child process is told to make."""
    call = WorkerProcess.call

    async def noted(child: WorkerProcess, request: Any, *given: Any, **named: Any) -> Any:
        if isinstance(request, Decode) and request.pcm is not None:
            with notes.open("a") as file:
                file.write(f"{os.getpid()} {request.pcm}\n")
        return await call(child, request, *given, **named)

    WorkerProcess.call = noted  # type: ignore[method-assign]


async def cut(database: str, opened: Office, recording_id: str) -> None:
    """The recording has three pieces, of ten seconds at most; what is computed for each is counted."""
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(COUNTED)
        cuts = [0, 10_000, 20_000, speech().duration_ms]
        await connection.execute(CUTS, opened.tenant.test_world, recording_id, cuts)
    finally:
        await connection.close()


async def until(opened: Office, sql: str, *given: object) -> None:
    """Wait until the value is not 0."""
    async with patience(SLOW):
        while not await opened.value(sql, *given):  # noqa: ASYNC110 - another process's work
            await asyncio.sleep(0.05)


@pytest.mark.timeout(300)
async def test_what_a_killed_worker_had_decoded_and_computed_is_not_done_again(
    fresh_database: str, quick_folder: Path
) -> None:
    notes = quick_folder / "decodes"
    async with (
        office(quick_folder, fresh_database, worker=False) as opened,
        process("worker", opened.live.settings, before=partial(note_decodes, notes)) as worker,
    ):
        recording_id, _ = await opened.upload(SPEECH)
        await until(opened, IS_PROBED, recording_id)
        await cut(fresh_database, opened, recording_id)
        wish = {"recording_id": recording_id, "provider": "whisper", "language": "en", "num_speakers": 1}
        transcription_id = (await opened.post("/v1/transcriptions", 201, wish))["id"]
        await until(opened, IS_TRANSCRIBING)
        worker.kill()
        done = await opened.ended(transcription_id)
        assert (done["status"], worker.exits) == ("completed", [-signal.SIGKILL]), done
        assert word_error(speech().text, done["full_text"]) < 0.1
        connection = await asyncpg.connect(fresh_database)
        try:
            rows = await connection.fetch("SELECT stage, piece FROM computed ORDER BY stage DESC, piece")
        finally:
            await connection.close()
        computed = [(row["stage"], row["piece"]) for row in rows]
        assert computed == [(stage, piece) for stage in ("transcribe", "diarize") for piece in range(3)]
        assert len(set((await asyncio.to_thread(notes.read_text)).splitlines())) == 1
