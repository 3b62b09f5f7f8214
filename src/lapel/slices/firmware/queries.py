"""All SQL of releases and of the assignments of single devices.

Order of locks: the device's row, then its assignments. An assignment whose deadline has passed counts as
`failed`, whatever its row still says; only the sweep, or a new assignment, changes that row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_row, fetch_rows, fetch_value, fetch_values
from lapel.slices.firmware.rows import AssignmentRow, EndedRow, FilesRow, ReleaseRow

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow

_RELEASE = """id, version, model, released_at, changelog, bin_sha256, bin_file_size_bytes, bin_crc32,
    ufw_sha256, ufw_file_size_bytes, release_sequence, allow_downgrade, created_at, updated_at"""

# The error of an assignment that its deadline ended.
_LATE = """CASE WHEN a.delivered_at IS NULL THEN 'The device was not heard before the deadline.'
    ELSE 'The device did not report version ' || f.version || ' before the deadline.' END"""
_COLUMNS = """a.world_id, a.id, a.device_id, a.firmware_release_id, a.rollout_id, a.assigned_at,
    a.delivered_at, a.applied_at"""
# $3 is now.
_SEEN = f"""{_COLUMNS},
    CASE WHEN a.status IN ('pending', 'delivered') AND a.deadline_at <= $3 THEN 'failed' ELSE a.status END
        AS status,
    CASE WHEN a.status IN ('pending', 'delivered') AND a.deadline_at <= $3 THEN {_LATE}
        ELSE a.error_message END AS error_message"""
_ENDED = f"{_COLUMNS}, a.status, a.error_message, f.version, f.model, w.project_id"

# Whether an offer waits for the device `d` of a heartbeat's statement, of which $3 is the present time.
OFFER_WAITING = """EXISTS (SELECT 1 FROM ota_assignments a
    WHERE a.world_id = d.world_id AND a.device_id = d.id AND a.status IN ('pending', 'delivered')
      AND a.deadline_at > $3)"""

# For WITH in a heartbeat's statement, whose `beat` is the device; $4 is the present time. The device's open
# offer: no row once the deadline has passed, and no row while its rollout is paused or halted, unless the
# device has begun already.
OFFER_OF_BEAT = """offer AS (
SELECT a.world_id, a.id AS assignment_id, a.status, a.firmware_release_id, a.deadline_at,
       f.version, f.model, f.bin_object_key, f.bin_sha256, f.bin_file_size_bytes, f.bin_crc32,
       f.release_sequence, f.allow_downgrade
FROM beat JOIN ota_assignments a ON a.world_id = beat.world_id AND a.device_id = beat.id
JOIN firmware_releases f ON f.world_id = a.world_id AND f.id = a.firmware_release_id
LEFT JOIN rollouts r ON r.world_id = a.world_id AND r.id = a.rollout_id
WHERE a.status IN ('pending', 'delivered') AND a.deadline_at > $4
  AND (a.status = 'delivered' OR r.status IS NULL OR r.status = 'running')
)"""

# Delivers the row of `offer`.
OFFERED = """offered AS (
UPDATE ota_assignments a SET status = 'delivered', delivered_at = coalesce(a.delivered_at, $4)
FROM offer
WHERE a.world_id = offer.world_id AND a.id = offer.assignment_id AND a.status IN ('pending', 'delivered')
RETURNING a.id
)"""

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

NEWEST = f"""
SELECT {_SEEN} FROM ota_assignments a
JOIN firmware_releases f ON f.world_id = a.world_id AND f.id = a.firmware_release_id
WHERE a.world_id = $1 AND a.device_id = $2 ORDER BY a.assigned_at DESC, a.id DESC LIMIT 1
"""

HISTORY = f"""
SELECT {_SEEN} FROM ota_assignments a
JOIN firmware_releases f ON f.world_id = a.world_id AND f.id = a.firmware_release_id
WHERE a.world_id = $1 AND a.device_id = $2 ORDER BY a.assigned_at DESC, a.id DESC LIMIT $4
"""

CANCEL = """
UPDATE ota_assignments SET status = 'cancelled', ended_at = $3, error_message = $4
WHERE world_id = $1 AND device_id = ANY($2::text[]) AND status IN ('pending', 'delivered')
  AND deadline_at > $3
"""

ASSIGN = f"""
INSERT INTO ota_assignments AS a
    (world_id, id, device_id, firmware_release_id, status, deadline_at, assigned_at)
VALUES ($1, $2, $3, $4, 'pending', $5, $6)
ON CONFLICT (world_id, device_id) WHERE status IN ('pending', 'delivered') DO NOTHING
RETURNING {_COLUMNS}, a.status, a.error_message
"""

# Includes an offer that the device never fetched, because it may have got the version in another way.
APPLY = f"""
UPDATE ota_assignments a SET status = 'applied', applied_at = $4, ended_at = $4
FROM firmware_releases f, worlds w
WHERE a.world_id = $1 AND a.device_id = $2 AND a.status IN ('pending', 'delivered') AND a.deadline_at > $4
  AND f.world_id = a.world_id AND f.id = a.firmware_release_id AND f.version = $3 AND w.id = a.world_id
RETURNING {_ENDED}
"""

FAIL = f"""
UPDATE ota_assignments a SET status = 'failed', ended_at = $5, error_message = $4
FROM firmware_releases f, worlds w
WHERE a.world_id = $1 AND a.device_id = $2 AND a.id = $3 AND a.status IN ('pending', 'delivered')
  AND a.deadline_at > $5
  AND f.world_id = a.world_id AND f.id = a.firmware_release_id AND w.id = a.world_id
RETURNING {_ENDED}
"""

# Of all worlds; rows that another transaction holds are skipped.
EXPIRE = f"""
UPDATE ota_assignments a SET status = 'failed', ended_at = $1, error_message = {_LATE}
FROM firmware_releases f, worlds w
WHERE (a.world_id, a.id) IN (
    SELECT due.world_id, due.id FROM ota_assignments due
    WHERE due.status IN ('pending', 'delivered') AND due.deadline_at <= $1
    ORDER BY due.deadline_at LIMIT $2 FOR UPDATE SKIP LOCKED)
  AND f.world_id = a.world_id AND f.id = a.firmware_release_id AND w.id = a.world_id
RETURNING {_ENDED}
"""

EXPIRE_OF_DEVICE = f"""
UPDATE ota_assignments a SET status = 'failed', ended_at = $3, error_message = {_LATE}
FROM firmware_releases f, worlds w
WHERE a.world_id = $1 AND a.device_id = $2 AND a.status IN ('pending', 'delivered') AND a.deadline_at <= $3
  AND f.world_id = a.world_id AND f.id = a.firmware_release_id AND w.id = a.world_id
RETURNING {_ENDED}
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
    """Version, model, and keys, SHA-256 and bytes of a release's files."""
    return await fetch_row(connection, FilesRow, READ_FILES, world_id, release_id)


async def release(connection: Connection, world_id: int, release_id: str, now: datetime) -> ReleaseRow | None:
    """Mark a release as released, if it is not already. None when there is no such release."""
    return await fetch_row(connection, ReleaseRow, RELEASE, world_id, release_id, now)


async def list_releases(
    connection: Connection, world_id: int, asked: PageWindow, model: str | None
) -> list[ReleaseRow]:
    """Rows of one page, plus one that tells whether more follow: released for `model`; None: all."""
    window = (world_id, asked.before_time, asked.before_id, asked.fetch, asked.offset)
    if model is None:
        return await fetch_rows(connection, ReleaseRow, LIST_RELEASES, *window)
    return await fetch_rows(connection, ReleaseRow, LIST_RELEASED, *window, model)


async def read_sequence(connection: Connection, world_id: int, model: str, version: str) -> int | None:
    """The `release_sequence` of a model's version; None when either is unknown."""
    return await fetch_value(connection, int, READ_SEQUENCE, world_id, model, version)


async def newest(
    connection: Connection, world_id: int, device_id: str, now: datetime
) -> AssignmentRow | None:
    """A device's newest assignment, whatever its status."""
    return await fetch_row(connection, AssignmentRow, NEWEST, world_id, device_id, now)


async def history(
    connection: Connection, world_id: int, device_id: str, limit: int, now: datetime
) -> list[AssignmentRow]:
    """A device's newest assignments."""
    return await fetch_rows(connection, AssignmentRow, HISTORY, world_id, device_id, now, limit)


async def cancel(
    connection: Connection, world_id: int, device_ids: list[str], now: datetime, why: str
) -> None:
    """Cancel the open assignments of these devices."""
    await connection.execute(CANCEL, world_id, device_ids, now, why)


async def assign(
    connection: Connection,
    world_id: int,
    assignment_id: str,
    device_id: str,
    release_id: str,
    deadline_at: datetime,
    now: datetime,
) -> AssignmentRow | None:
    """Insert an assignment. None when the device has an open one."""
    return await fetch_row(
        connection, AssignmentRow, ASSIGN, world_id, assignment_id, device_id, release_id, deadline_at, now
    )


async def apply(
    connection: Connection, world_id: int, device_id: str, version: str, now: datetime
) -> EndedRow | None:
    """Set a device's open assignment of `version` to applied. None when there is none."""
    return await fetch_row(connection, EndedRow, APPLY, world_id, device_id, version, now)


async def fail(
    connection: Connection, world_id: int, device_id: str, assignment_id: str, why: str, now: datetime
) -> EndedRow | None:
    """Set an open assignment to failed. None when it is not open."""
    return await fetch_row(connection, EndedRow, FAIL, world_id, device_id, assignment_id, why, now)


async def expire(connection: Connection, now: datetime, limit: int) -> list[EndedRow]:
    """Fail at most `limit` assignments, of all worlds, whose deadline has passed. Returns their rows."""
    return await fetch_rows(connection, EndedRow, EXPIRE, now, limit)


async def expire_of_device(
    connection: Connection, world_id: int, device_id: str, now: datetime
) -> list[EndedRow]:
    """As `expire`, of one device."""
    return await fetch_rows(connection, EndedRow, EXPIRE_OF_DEVICE, world_id, device_id, now)


async def served(connection: Connection, keys: list[str]) -> set[str]:
    """The keys that belong to a release, in any world."""
    return set(await fetch_values(connection, str, SERVED, keys))
