"""All SQL of releases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_row, fetch_rows, fetch_value, fetch_values
from lapel.slices.firmware.rows import FilesRow, ReleaseRow

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow

_RELEASE = """id, version, model, released_at, changelog, bin_sha256, bin_file_size_bytes, bin_crc32,
    ufw_sha256, ufw_file_size_bytes, release_sequence, allow_downgrade, created_at, updated_at"""


INSERT_RELEASE = f"""
INSERT INTO firmware_releases
    (world_id, id, version, model, changelog, release_sequence, allow_downgrade,
     bin_object_key, bin_sha256, bin_file_size_bytes, bin_crc32,
     ufw_object_key, ufw_sha256, ufw_file_size_bytes, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15)
ON CONFLICT (world_id, model, version) DO NOTHING
RETURNING {_RELEASE}
"""

FIND_RELEASE = "SELECT id FROM firmware_releases WHERE world_id = $1 AND model = $2 AND version = $3"

READ_RELEASE = f"SELECT {_RELEASE} FROM firmware_releases WHERE world_id = $1 AND id = $2"

READ_FILES = """
SELECT version, model, bin_object_key, bin_sha256, bin_file_size_bytes,
       ufw_object_key, ufw_sha256, ufw_file_size_bytes
FROM firmware_releases WHERE world_id = $1 AND id = $2
"""

RELEASE = f"""
UPDATE firmware_releases SET released_at = COALESCE(released_at, $3),
    updated_at = CASE WHEN released_at IS NULL THEN $3 ELSE updated_at END
WHERE world_id = $1 AND id = $2
RETURNING {_RELEASE}
"""

LIST_RELEASES = f"""
SELECT {_RELEASE} FROM firmware_releases
WHERE world_id = $1 AND (created_at, id) < ($2, $3)
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

LIST_RELEASED = f"""
SELECT {_RELEASE} FROM firmware_releases
WHERE world_id = $1 AND model = $6 AND released_at IS NOT NULL AND (created_at, id) < ($2, $3)
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

READ_SEQUENCE = """
SELECT release_sequence FROM firmware_releases WHERE world_id = $1 AND model = $2 AND version = $3
"""

# Every file that the store must hold: world, key, bytes, SHA-256, content type.
PROMISED_FILES = """
SELECT world_id, bin_object_key, bin_file_size_bytes, bin_sha256, 'application/octet-stream'
FROM firmware_releases
UNION ALL
SELECT world_id, ufw_object_key, ufw_file_size_bytes, ufw_sha256, 'application/octet-stream'
FROM firmware_releases WHERE ufw_object_key IS NOT NULL
"""

SERVED = """
SELECT key FROM unnest($1::text[]) AS asked (key)
WHERE EXISTS (SELECT 1 FROM firmware_releases f WHERE f.bin_object_key = key)
   OR EXISTS (SELECT 1 FROM firmware_releases f WHERE f.ufw_object_key = key)
"""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file in the store: size in bytes, SHA-256 and CRC-32 in hexadecimal."""

    key: str
    size: int
    sha256: str
    crc32: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRelease:
    """A release whose files are in the store. A `ufw` file is stored without its CRC-32."""

    id: str
    version: str
    model: str
    changelog: str | None
    release_sequence: int | None
    allow_downgrade: bool
    bin: NewFile
    ufw: NewFile | None
    created_at: datetime


async def insert_release(connection: Connection, world_id: int, new: NewRelease) -> ReleaseRow | None:
    """Insert a release. None when the model has this version."""
    ufw = (None, None, None) if new.ufw is None else (new.ufw.key, new.ufw.sha256, new.ufw.size)
    return await fetch_row(
        connection,
        ReleaseRow,
        INSERT_RELEASE,
        world_id,
        new.id,
        new.version,
        new.model,
        new.changelog,
        new.release_sequence,
        new.allow_downgrade,
        new.bin.key,
        new.bin.sha256,
        new.bin.size,
        new.bin.crc32,
        *ufw,
        new.created_at,
    )


async def find_release(connection: Connection, world_id: int, model: str, version: str) -> str | None:
    """The id of a model's release of this version, if there is one."""
    return await fetch_value(connection, str, FIND_RELEASE, world_id, model, version)


async def read_release(connection: Connection, world_id: int, release_id: str) -> ReleaseRow | None:
    """One release."""
    return await fetch_row(connection, ReleaseRow, READ_RELEASE, world_id, release_id)


async def read_files(connection: Connection, world_id: int, release_id: str) -> FilesRow | None:
    """The version and model of a release, and the key, SHA-256 and size (bytes) of each of its files."""
    return await fetch_row(connection, FilesRow, READ_FILES, world_id, release_id)


async def release(connection: Connection, world_id: int, release_id: str, now: datetime) -> ReleaseRow | None:
    """Mark a release as released; a repeat changes nothing. None when there is no such release."""
    return await fetch_row(connection, ReleaseRow, RELEASE, world_id, release_id, now)


async def list_releases(
    connection: Connection, world_id: int, asked: PageWindow, model: str | None
) -> list[ReleaseRow]:
    """Rows of one page, plus one row that tells whether more follow. `model`: only its released firmware."""
    window = (world_id, asked.before_time, asked.before_id, asked.fetch, asked.offset)
    if model is None:
        return await fetch_rows(connection, ReleaseRow, LIST_RELEASES, *window)
    return await fetch_rows(connection, ReleaseRow, LIST_RELEASED, *window, model)


async def read_sequence(connection: Connection, world_id: int, model: str, version: str) -> int | None:
    """The `release_sequence` of a model's version; None when the version or its sequence is unknown."""
    return await fetch_value(connection, int, READ_SEQUENCE, world_id, model, version)


async def served(connection: Connection, keys: list[str]) -> set[str]:
    """The keys that belong to a release, in any world."""
    return set(await fetch_values(connection, str, SERVED, keys))
