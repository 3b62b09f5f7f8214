"""A full disk is the operator's trouble: the work waits, and goes on once there is room."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lapel.cli.doctor.speech_checks import failing_steps
from lapel.slices.erasure.service import LocalCopies
from lapel.slices.transcription.audio.decoder import Decoder
from lapel.slices.transcription.models.process.engine_client import Engine
from lapel.slices.transcription.work.runner import Runner
from lapel.slices.transcription.work.scratch import Scratch
from lapel.slices.transcription.work.tools import WorkerStages
from tests.support.disks import tiny_disk
from tests.transcription.office import SPEECH, Office, office

TRIES = 9  # more than a step that fails has
REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON audio_facts EXECUTE FUNCTION refuse();
"""


def no_bytes(disk: Path) -> None:
    """Not even the upload finds room."""
    fill(disk, leave=0)


def few_bytes(disk: Path) -> None:
    """The upload finds room, its samples do not."""
    fill(disk, leave=len(SPEECH) + 200_000)


def no_files(disk: Path) -> None:
    """No file can be made, though there is room."""
    try:
        for number in range(1_000):
            (disk / f"ballast-{number}").touch()
    except OSError:
        return
    raise AssertionError("the disk takes any number of files")


def one_file(disk: Path) -> None:
    """The upload and its folder are files that can be made, that of the samples is not."""
    no_files(disk)
    for name in ("ballast-0", "ballast-1"):
        (disk / name).unlink()


def fill(disk: Path, *, leave: int) -> None:
    """Leave so many bytes."""
    with (disk / "ballast-0").open("wb") as file:
        room = os.statvfs(disk)
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - leave)


def runner_of(opened: Office, folder: Path) -> Runner:
    """A worker's, with its scratch in a folder."""
    ports = opened.live.ports
    scratch = Scratch(folder, ports.store, ports.database, LocalCopies(ports.database))
    decoder = Decoder(spare_bytes=0)
    return Runner(ports, WorkerStages(decoder=decoder, engine=Engine(ports.settings), scratch=scratch))


async def try_often(opened: Office, runner: Runner) -> list[str]:
    """Begin the step again and again; what was told of it."""
    with capture_logs() as logs:
        for _ in range(TRIES):
            assert await runner.run("decode") is not None
            assert await opened.value("UPDATE speech_work SET available_at = now() RETURNING waits_for_room")
    assert all(each["remedy"] for each in logs if each["event"] == "speech.disk_full")
    return [each["event"] for each in logs]


async def findings(opened: Office) -> list[tuple[str, str]]:
    """State and detail of what `lapel doctor` finds."""
    async with opened.live.ports.database.acquire() as connection:
        return [(each.state, each.detail) async for each in failing_steps(connection)]


@pytest.mark.parametrize("full", [no_bytes, few_bytes, no_files, one_file], ids=lambda each: each.__name__)
async def test_a_step_waits_while_a_workers_disk_is_full(
    tmp_path: Path, fresh_database: str, full: Callable[[Path], None]
) -> None:
    async with office(tmp_path, fresh_database, worker=False) as opened:
        with tiny_disk(tmp_path / "disk") as disk:
            runner = runner_of(opened, disk / "scratch")
            await runner.start()
            full(disk)
            _, transcription_id = await opened.transcribe(SPEECH)
            assert await try_often(opened, runner) == ["speech.disk_full"] * TRIES
            steps = "SELECT (stage, failures, cardinality(charges))::text FROM speech_work"
            assert await opened.value(steps) == "(probe,0,0)"
            assert (await opened.get(transcription_id))["status"] == "processing"
            found = "steps that wait because a worker's disk is full: 1 of probe"
            assert await findings(opened) == [("broken", found)]

            for ballast in disk.glob("ballast-*"):
                ballast.unlink()
            assert await runner.run("decode") is not None
            assert await opened.value(steps) == "(transcribe,0,0)"
            assert await findings(opened) == []
            await runner.stop()


async def test_a_step_waits_while_the_databases_disk_is_full(tmp_path: Path, fresh_database: str) -> None:
    async with office(tmp_path, fresh_database, worker=False) as opened:
        runner = runner_of(opened, tmp_path / "scratch")
        async with opened.live.ports.database.acquire() as connection:
            await connection.execute(REFUSE)
        await opened.transcribe()
        assert await try_often(opened, runner) == ["speech.disk_full"] * TRIES
        assert (
            await opened.value("SELECT (stage, failures, cardinality(charges))::text FROM speech_work")
            == "(probe,0,0)"
        )
        await runner.stop()
