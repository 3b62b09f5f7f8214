"""Audio of deleted recordings that is left on the worker's own disk.

Run `python -m benchmarks.deleted_audio`. A `lapel serve` as an operator starts it transcribes some
recordings. Its worker is killed while it works on the last of them; then all are deleted, some in
mid-transcription. The hour for which upload URLs live is skipped: the ledger's entries are moved into the
past.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import psutil

from benchmarks.job_start import Client, served
from benchmarks.report import Row, show
from benchmarks.speech_audio import part_of_sample

DONE, UNDER_WAY = 4, 4
_PATIENCE = 300.0
_PAST = """
UPDATE erasures SET links_expire_at = links_expire_at - interval '2 hours', due_at = now()
WHERE state <> 'closed' AND links_expire_at > now()
"""


def measure() -> list[Row]:
    """Bytes of audio on the worker's disk: before and after the deletion, and when the ledger is closed."""
    folder = Path(tempfile.mkdtemp(prefix="lapel-bench-"))
    try:
        audio = part_of_sample(folder, seconds=30).read_bytes()
        data = folder / "data"
        with served(data) as client:
            return _measure(client, data, audio)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(client: Client, data: Path, audio: bytes) -> list[Row]:
    client.ask("PATCH", "/v1/config/processing", {"auto_transcription": {"enabled": True}})
    recordings: list[str] = []
    for _ in range(DONE):
        recordings.append(client.send(audio))
        _until(lambda: _transcribed(client, recordings[-1]))
    idle = _bytes(data)
    recordings += [client.send(audio) for _ in range(UNDER_WAY)]
    most = 0
    deadline = time.monotonic() + 10
    while not most and time.monotonic() < deadline:
        most = _bytes(data)
    _kill_worker(data)
    left = _bytes(data)
    for recording in recordings:
        client.ask("DELETE", f"/v1/recordings/{recording}")
    deleted = time.monotonic()
    _until(lambda: not _bytes(data))
    gone = time.monotonic() - deleted
    _until(lambda: _closed(client, data, recordings))
    return [
        Row(f"audio on the worker's disk, {DONE} recordings transcribed, idle", idle, "B", at_most=0),
        Row("… after its worker was killed at work", left, "B"),
        Row("… all deleted: until nothing is left", gone, "s"),
        Row("… once the erasure ledger says closed", _bytes(data), "B", at_most=0),
    ]


def _bytes(data: Path) -> int:
    total = 0
    for each in (data / "scratch").rglob("audio*"):
        with contextlib.suppress(FileNotFoundError):
            total += each.stat().st_size
    return total


def _transcribed(client: Client, recording: str) -> bool:
    found = client.ask("GET", f"/v1/transcriptions?recording_id={recording}")["data"]
    return bool(found) and found[0]["status"] in ("completed", "failed")


def _closed(client: Client, data: Path, recordings: list[str]) -> bool:
    asyncio.run(_move_into_the_past(json.loads((data / "run.json").read_text())["database_url"]))
    page = client.ask("GET", "/v1/erasures?limit=100")
    closed = {each["resource_id"] for each in page["data"] if each["state"] == "closed"}
    return closed >= set(recordings)


async def _move_into_the_past(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(_PAST)
    finally:
        await connection.close()


def _kill_worker(data: Path) -> None:
    supervisor = psutil.Process(json.loads((data / "run.json").read_text())["pid"])
    for child in supervisor.children():
        if "worker" in (child.name().removeprefix("lapel-"), *child.cmdline()[-1:]):
            os.kill(child.pid, signal.SIGKILL)


def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not reached():
        if time.monotonic() > deadline:
            raise RuntimeError("the server did not come so far in time")
        time.sleep(0.05)


if __name__ == "__main__":
    show(measure())
