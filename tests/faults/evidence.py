"""The evidence: every row, every object, every event, and what the links serve."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import asyncpg
import httpx

from lapel.foundation.storage.object_names import LEDGER
from lapel.settings import Settings
from tests.faults import bucket
from tests.faults.journal import Promised
from tests.support.tenants import Tenant, bearer

RECORDINGS = "SELECT id, status FROM recordings"
MEDIA = "SELECT recording_id, id, status, content_type, file_size_bytes, sha256, object_key FROM media"
EVENTS = "SELECT type, resource_id FROM events"
TOMBSTONES = "SELECT id FROM tombstones"
ERASURES = "SELECT resource_id, state FROM erasures WHERE resource_type = 'recording'"
COPIES = "SELECT recording_id FROM local_copies"
# With the error of a job's last try, which a held job needs.
JOBS = """
SELECT j.entrypoint, concat_ws(': ', j.status::text, (
    SELECT l.traceback ->> 'traceback' FROM jobs.pgqueuer_log l
    WHERE l.job_id = j.id AND l.traceback IS NOT NULL ORDER BY l.id DESC LIMIT 1
)) AS status FROM jobs.pgqueuer j
"""
READERS = 8


@dataclass(frozen=True, slots=True)
class MediaRow:
    """One row of `media`."""

    recording_id: str
    media_id: str
    status: str
    content_type: str
    size: int | None
    sha256: str | None
    object_key: str | None


@dataclass(frozen=True, slots=True)
class Served:
    """The result of a GET of a media's link."""

    status: int
    content_type: str = ""
    size: int = -1
    sha256: str = ""


@dataclass(slots=True)
class Evidence:
    """Everything that the checker looks at. Tests of the checker change it by hand."""

    recordings: dict[str, str]
    media: dict[tuple[str, str], MediaRow]
    objects: dict[str, int]
    object_hashes: dict[str, str]
    events: list[tuple[str, str]]
    tombstones: set[str]
    erasures: dict[str, str]
    jobs: list[tuple[str, str]]
    # Files on the workers' own disk except locks, and the ledger's rows about them: none at rest.
    scratch: list[str] = field(default_factory=list[str])
    copies: list[str] = field(default_factory=list[str])
    served: dict[tuple[str, str], Served] = field(default_factory=dict[tuple[str, str], Served])
    # The status of GET /recordings/{id}, for every recording that was deleted.
    answers_of_deleted: dict[str, int] = field(default_factory=dict[str, int])


async def collect(settings: Settings) -> Evidence:
    """Rows, events, jobs, and the full bucket listing with the hash of every object."""
    connection = await asyncpg.connect(settings.database_url)
    try:
        recordings = {row["id"]: row["status"] for row in await connection.fetch(RECORDINGS)}
        rows = [MediaRow(*row.values()) for row in await connection.fetch(MEDIA)]
        events = [(row["type"], row["resource_id"]) for row in await connection.fetch(EVENTS)]
        tombstones = {row["id"] for row in await connection.fetch(TOMBSTONES)}
        erasures = {row["resource_id"]: row["state"] for row in await connection.fetch(ERASURES)}
        jobs = [(row["entrypoint"], row["status"]) for row in await connection.fetch(JOBS)]
        copies = [row["recording_id"] for row in await connection.fetch(COPIES)]
    finally:
        await connection.close()
    listed = await asyncio.to_thread(bucket.listing, settings)
    # The lines of the ledger are there to stay.
    objects = {key: size for key, size in listed.items() if not key.startswith(LEDGER)}
    hashes = await asyncio.to_thread(bucket.hashes, settings, list(objects))
    media = {(row.recording_id, row.media_id): row for row in rows}
    scratch = await asyncio.to_thread(scratch_files, settings)
    return Evidence(recordings, media, objects, hashes, events, tombstones, erasures, jobs, scratch, copies)


def scratch_files(settings: Settings) -> list[str]:
    """Files in the workers' folder for audio."""
    root = settings.scratch_dir or settings.data_dir / "scratch"
    files = (each for each in root.rglob("*") if each.is_file() and each.name != "held")
    return sorted(str(each.relative_to(root)) for each in files)


async def read_back(
    client: httpx.AsyncClient, tenant: Tenant, promises: Iterable[Promised]
) -> dict[tuple[str, str], Served]:
    """GET every promised media through its own link, as its owner would."""
    limit = asyncio.Semaphore(READERS)

    async def one(promise: Promised) -> tuple[tuple[str, str], Served]:
        async with limit:
            return (promise.recording_id, promise.media_id), await fetch(client, tenant.test_key, promise)

    return dict(await asyncio.gather(*map(one, promises)))


async def fetch(client: httpx.AsyncClient, token: str, promise: Promised) -> Served:
    """Asks for one link and follows it."""
    asked = await client.post(
        f"/v1/recordings/{promise.recording_id}/download-url",
        json={"media_id": promise.media_id},
        headers=bearer(token),
    )
    if asked.status_code != 200:
        return Served(asked.status_code)
    got = await client.get(asked.json()["download_url"])
    return Served(
        got.status_code,
        got.headers["content-type"],
        len(got.content),
        hashlib.sha256(got.content).hexdigest(),
    )


async def statuses(client: httpx.AsyncClient, tenant: Tenant, recordings: Iterable[str]) -> dict[str, int]:
    """The status of GET for each of these recordings."""
    limit = asyncio.Semaphore(READERS)

    async def one(recording_id: str) -> tuple[str, int]:
        async with limit:
            answer = await client.get(f"/v1/recordings/{recording_id}", headers=tenant.headers)
            return recording_id, answer.status_code

    return dict(await asyncio.gather(*map(one, recordings)))
