"""Deletion of an end user with very many recordings, and its effect on other requests.

Run `python -m benchmarks.delete_many`. A `lapel serve` as an operator starts it. During the deletion another
project asks for its list of recordings, and so does the same project, whose list would begin with the deleted
recordings. The rows have no objects.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.job_start import Client, served
from benchmarks.report import Row, show

RECORDINGS = 100_000
_PATIENCE = 900.0
_WORLD = "SELECT world_id FROM end_users WHERE id = $1"
_RECORDINGS = """
INSERT INTO recordings (world_id, id, end_user_id, name, status, source, recorded_at, consent_obtained,
    created_at, updated_at, uploaded_at)
SELECT $1, 'rec_' || lpad(i::text, 24, '0'), $2, 'Conversation ' || i, 'uploaded', 'device', now(), true,
    now() - make_interval(secs => i), now(), now()
FROM generate_series(1, $3::integer) i
"""
_MEDIA = """
INSERT INTO media (world_id, id, recording_id, type, status, content_type, file_size_bytes, sha256,
    object_key, created_at, uploaded_at, last_url_expires_at, reconcile_at)
SELECT r.world_id, 'med_' || substr(r.id, 5), r.id, 'audio', 'uploaded', 'audio/ogg', 1, repeat('0', 64),
    'media/' || r.id, r.created_at, r.created_at, r.created_at, r.created_at
FROM recordings r WHERE r.world_id = $1 AND r.end_user_id = $2
"""
_LEFT = "SELECT count(*) FROM recordings WHERE world_id = $1 AND end_user_id = $2"


def measure() -> list[Row]:
    """Seconds until the answer and until no row is left; and how long other requests took meanwhile."""
    folder = Path(tempfile.mkdtemp(prefix="lapel-bench-"))
    try:
        with served(folder / "data") as client:
            return _measure(client, folder / "data")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class _Watch:
    """Asks repeatedly for a list of recordings, in a thread."""

    client: Client
    waits: list[float] = field(default_factory=list[float])
    refused: int = 0
    shown: int = 0
    stop: bool = False

    def run(self) -> None:
        while not self.stop:
            began = time.monotonic()
            try:
                self.shown += len(self.client.ask("GET", "/v1/recordings")["data"])
            except RuntimeError:
                self.refused += 1
            self.waits.append(time.monotonic() - began)
            time.sleep(0.02)


def _measure(client: Client, data: Path) -> list[Row]:
    run = json.loads((data / "run.json").read_text())
    world_id: int = asyncio.run(_fill(run["database_url"], client.end_user))
    project = _lapel(data, "projects", "create", "Neighbour")["id"]
    key = _lapel(data, "keys", "create", "--project", project)["key"]
    same = Client(run["base_url"], client.key, external_id="same")
    watches = [_Watch(Client(run["base_url"], key)), _Watch(same)]
    began = time.monotonic()
    client.ask("DELETE", f"/v1/end-users/{client.end_user}")
    answered = time.monotonic() - began
    threads = [threading.Thread(target=each.run) for each in watches]
    for thread in threads:
        thread.start()
    try:
        _until(lambda: not asyncio.run(_value(run["database_url"], _LEFT, world_id, client.end_user)))
    finally:
        gone = time.monotonic() - began
        for each in watches:
            each.stop = True
        for thread in threads:
            thread.join()
    neighbour, own = watches
    return [
        Row(f"DELETE of an end user with {RECORDINGS:,} recordings: answered", answered, "s", at_most=2),
        Row("… all rows gone", gone, "s"),
        Row("… a neighbour's slowest list meanwhile", max(neighbour.waits), "s", at_most=2,
            detail=f"{len(neighbour.waits)} requests, {neighbour.refused} refused"),
        Row("… the project's own slowest list", max(own.waits), "s", at_most=2,
            detail=f"{len(own.waits)} requests, {own.refused} refused, {own.shown} deleted recordings shown"),
    ]  # fmt: skip


async def _fill(dsn: str, end_user: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        world_id: int = await connection.fetchval(_WORLD, end_user)
        await connection.execute(_RECORDINGS, world_id, end_user, RECORDINGS)
        await connection.execute(_MEDIA, world_id, end_user)
    finally:
        await connection.close()
    return world_id


async def _value(dsn: str, statement: str, *given: object) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(statement, *given)
    finally:
        await connection.close()


def _lapel(data: Path, *words: str) -> Any:
    command = [sys.executable, "-m", "lapel.cli.main", *words, "--data-dir", str(data), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not reached():
        if time.monotonic() > deadline:
            raise RuntimeError("the rows were not deleted in time")
        time.sleep(0.5)


if __name__ == "__main__":
    show(measure())
