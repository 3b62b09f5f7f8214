"""A worker is killed at every named point; the next one goes on, and nothing is told or done twice."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

import lapel
from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.slices.providers.choice import SpeechEngine
from lapel.slices.transcription.payloads import STAGES
from lapel.slices.transcription.slice import SLICE
from tests.faults.evidence import scratch_files
from tests.faults.processes import Process, armed, instructions, process
from tests.recordings.support import events_of
from tests.support.patience import patience
from tests.support.postgres import create_database, drop_database
from tests.transcription.office import BEGINNING, SLOW, Office, office

AT_ONCE = 5
# The next worker, which finishes what the killed one left, is killed at the next point.
IN_A_WORLD = 6
# Only OpenAI leaves speakers to us; AssemblyAI keeps what it is sent until it is deleted there.
ENGINES: dict[str, SpeechEngine] = {"diarize": "openai", "transcribe": "assemblyai"}
SENDS = ("POST /v1/listen", "POST /v2/transcript", "POST /v1/audio/transcriptions")


def test_every_point_in_the_code_is_listed() -> None:
    found: set[str] = set()
    for file in (Path(lapel.__file__).parent / "slices" / "transcription").rglob("*.py"):
        for name in re.findall(r'crash_point\(f?"([^"]+)"\)', file.read_text()):
            if name.startswith("{claim.stage}:"):
                found.update(name.replace("{claim.stage}", stage) for stage in STAGES)
            else:
                found.add(name)
    assert sorted(found) == sorted(SLICE.crash_points)
    assert 4 * len(STAGES) + 3 == len(SLICE.crash_points)


def worlds() -> list[tuple[SpeechEngine, list[str]]]:
    """An engine, and the points at which a worker of that world is killed, one after the other."""
    by_engine: dict[SpeechEngine, list[str]] = {}
    for point in SLICE.crash_points:
        by_engine.setdefault(ENGINES.get(point.partition(":")[0], "deepgram"), []).append(point)
    return [
        (engine, points[first : first + IN_A_WORLD])
        for engine, points in by_engine.items()
        for first in range(0, len(points), IN_A_WORLD)
    ]


@pytest.mark.deep
@pytest.mark.timeout(600)
async def test_whatever_the_worker_was_at_the_next_one_finishes_it(
    postgres: EmbeddedPostgres, quick_folder: Path
) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def world(engine: SpeechEngine, points: list[str]) -> None:
        async with places:
            name = "crash_" + re.sub("[^a-z]", "_", points[0])
            database = create_database(postgres, name, "template")
            (quick_folder / name).mkdir()
            async with (
                office(quick_folder / name, database, worker=False, engine=engine) as opened,
                process("worker", opened.live.settings, crash=instructions(quick_folder, points)) as worker,
            ):
                for point in points:
                    await _live(opened, worker, point, quick_folder)
            drop_database(postgres, name)

    async with asyncio.TaskGroup() as group:
        for each in worlds():
            group.create_task(world(*each))


async def _audio_left(opened: Office) -> list[str]:
    files = await asyncio.to_thread(scratch_files, opened.live.settings)
    return [*files, *["a row"] * await opened.value("SELECT count(*) FROM local_copies")]


async def _live(opened: Office, worker: Process, point: str, folder: Path) -> None:
    calls, deleted, crashes = len(opened.fake.calls), len(opened.fake.deleted), worker.crashes
    # No worker starts the embedding model: what is found later has tests of its own.
    processing = {
        "auto_transcription": {"enabled": True, "provider": "deepgram"},
        "auto_embedding": {"enabled": False},
    }
    await opened.call("PATCH", "/v1/config/processing", 200, processing)
    _, marker = armed(folder, point)
    recording_id, _ = await opened.upload(BEGINNING)
    for _ in range(int(SLOW / 0.05)):
        if worker.crashes > crashes:
            break
        await asyncio.sleep(0.05)
    assert worker.crashes == crashes + 1, f"{point} was never reached: {worker.exits}"
    assert not marker.exists()
    transcription_id = await opened.until_transcribed(recording_id)
    done = await opened.ended(transcription_id)
    async with patience(SLOW):  # what the killed one held, too
        while left := await _audio_left(opened):  # noqa: ASYNC110 - another process's files
            await asyncio.sleep(0.2)
    assert left == [], point
    await opened.until_nothing_is_kept()
    assert done["status"] == "completed", f"{point}: {done}"
    kinds = await events_of(opened.live.ports, opened.tenant.test_world, transcription_id)
    assert kinds == ["transcription.started", "transcription.completed"], point
    page = await opened.call("GET", f"/v1/transcriptions?recording_id={recording_id}", 200)
    assert len(page["data"]) == 1, point
    # What was written down is not done again; only a transcribing whose end nobody wrote is.
    asked_twice = point in ("transcribe:done", "transcribe:before-commit")
    times = 2 if asked_twice else 1
    assert sum(call in SENDS for call in opened.fake.calls[calls:]) == times, point
    assert len(opened.fake.deleted) - deleted == (times if opened.fake.engine == "assemblyai" else 0), point
    assert await opened.value("SELECT count(*) FROM remote_copies") == 0
    assert await opened.value("SELECT count(*) FROM speech_work") == 0
    assert await opened.value("SELECT count(*) FROM transcription_pieces") == 0
