"""All SQL of media, upload attempts and upload tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lapel.slices.end_users.service import PRESENT
from lapel.slices.recordings.records.queries import REACHED, reached

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from lapel.foundation.database.connection import Connection
    from lapel.slices.recordings.access import Reach

# ---- upload-url -------------------------------------------------------------------------

FIND_AUDIO = """
SELECT id, status FROM media WHERE world_id = $1 AND recording_id = $2 AND type = 'audio'
"""

FIND_MEDIA = "SELECT status, type FROM media WHERE world_id = $1 AND recording_id = $2 AND id = $3"

COUNT_MEDIA = "SELECT count(*) FROM media WHERE world_id = $1 AND recording_id = $2"

# The reconciler looks at the media when its URL ends.
INSERT_MEDIA = """
INSERT INTO media (world_id, id, recording_id, type, status, content_type, captured_at, created_at,
    last_url_expires_at, reconcile_at)
VALUES ($1, $3, $2, $4, 'pending', $5, $6, $7, $8, $8)
"""

RENEW_MEDIA = """
UPDATE media SET status = 'pending', failure = NULL, content_type = $4,
    captured_at = COALESCE($5, captured_at),
    last_url_expires_at = GREATEST(last_url_expires_at, $6),
    reconcile_at = GREATEST(last_url_expires_at, $6)
WHERE world_id = $1 AND recording_id = $2 AND id = $3 AND status IN ('pending', 'failed')
"""

# How many upload URLs are kept of a media, and how many of them may still be used.
COUNT_ATTEMPTS = """
SELECT count(*) AS kept, count(*) FILTER (WHERE url_expires_at > $3) AS valid FROM upload_attempts
WHERE world_id = $1 AND media_id = $2
"""

# $4: how many of the newest stay, whatever their age.
FORGET_ATTEMPTS = """
DELETE FROM upload_attempts
WHERE world_id = $1 AND media_id = $2 AND url_expires_at < $3 AND state <> 'verifying' AND id <= (
    SELECT id FROM upload_attempts WHERE world_id = $1 AND media_id = $2 ORDER BY id DESC OFFSET $4 LIMIT 1)
"""

INSERT_ATTEMPT = """
INSERT INTO upload_attempts (world_id, media_id, id, staging_key, content_type, file_size_bytes, sha256,
    state, url_expires_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, 'issued', $8, $9)
"""

READ_ATTEMPT = """
SELECT content_type, file_size_bytes, sha256 FROM upload_attempts
WHERE world_id = $1 AND media_id = $2 AND id = $3
"""

KEEP_UPLOAD_ACCESS = """
INSERT INTO upload_tokens (token_hash, world_id, recording_id, expires_at, issued_by)
VALUES ($1, $2, $3, $4, $5)
"""

# ---- upload-complete --------------------------------------------------------------------

READ_RECORDING_STATE = f"""
SELECT r.status, r.device_id, r.upload_method, w.project_id
FROM recordings r JOIN worlds w ON w.id = r.world_id
WHERE {REACHED}
"""

READ_MEDIA_STATES = """
SELECT id, type, status, file_size_bytes, sha256, duration_ms, uploaded_at, last_url_expires_at
FROM media WHERE world_id = $1 AND recording_id = $2 ORDER BY created_at, id
"""

# Attempts that may still be taken, newest first.
READ_OPEN_ATTEMPTS = """
SELECT a.media_id, a.id, a.staging_key, a.content_type, a.file_size_bytes, a.sha256, a.state,
       a.expected_sha256, a.expected_size, a.expected_duration_ms
FROM media m JOIN upload_attempts a ON a.world_id = m.world_id AND a.media_id = m.id
WHERE m.world_id = $1 AND m.recording_id = $2 AND m.status IN ('pending', 'verifying')
  AND a.state IN ('issued', 'verifying')
ORDER BY a.created_at DESC, a.id DESC
"""

# $4 is the state that the row must be in: a completion that finds another one has lost the race.
MOVE_MEDIA = """
UPDATE media SET status = $5, failure = $6, reconcile_at = COALESCE($7, reconcile_at)
WHERE world_id = $1 AND recording_id = $2 AND id = $3 AND status = $4
RETURNING id
"""

MOVE_ATTEMPT = """
UPDATE upload_attempts SET state = $5 WHERE world_id = $1 AND media_id = $2 AND id = $3 AND state = $4
RETURNING id
"""

REFUSE_ATTEMPT = """
UPDATE upload_attempts SET state = 'refused', expected_sha256 = $5, expected_size = $6,
    expected_duration_ms = $7, refused_at = $8
WHERE world_id = $1 AND media_id = $2 AND id = $3 AND state = $4
RETURNING id
"""

READ_REFUSALS = """
SELECT a.expected_sha256, a.expected_size, a.expected_duration_ms, a.refused_at
FROM media m JOIN upload_attempts a ON a.world_id = m.world_id AND a.media_id = m.id
WHERE m.world_id = $1 AND m.recording_id = $2 AND m.status = 'failed' AND a.refused_at IS NOT NULL
ORDER BY a.refused_at DESC LIMIT 100
"""

BEGIN_ATTEMPT = """
UPDATE upload_attempts SET state = 'verifying', expected_sha256 = $4, expected_size = $5,
    expected_duration_ms = $6
WHERE world_id = $1 AND media_id = $2 AND id = $3 AND state = 'issued'
RETURNING id
"""

CLAIM_MEDIA = """
UPDATE media SET status = 'uploaded', failure = NULL, content_type = $5, file_size_bytes = $6, sha256 = $7,
    object_key = $8, duration_ms = COALESCE($9, duration_ms), uploaded_at = $10
WHERE world_id = $1 AND recording_id = $2 AND id = $3 AND status = $4
RETURNING id
"""

# ---- download-url -----------------------------------------------------------------------

# The hottest statement: three look-ups by primary key. $4: the one end user that the caller may see.
FIND_DOWNLOAD = f"""
SELECT m.object_key, m.content_type, m.file_size_bytes, m.status, r.name
FROM media m JOIN recordings r ON r.world_id = m.world_id AND r.id = m.recording_id
WHERE m.world_id = $1 AND m.recording_id = $2 AND m.id = $3 AND ($4::text IS NULL OR r.end_user_id = $4)
  AND {PRESENT}
"""

# A row without media: the recording exists and has no audio.
FIND_AUDIO_DOWNLOAD = f"""
SELECT m.id, m.object_key, m.content_type, m.file_size_bytes, m.status, r.name
FROM recordings r
LEFT JOIN media m ON m.world_id = r.world_id AND m.recording_id = r.id AND m.type = 'audio'
WHERE r.world_id = $1 AND r.id = $2 AND ($3::text IS NULL OR r.end_user_id = $3) AND {PRESENT}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A copy as read back: size in bytes, SHA-256 in hexadecimal; and the duration that the client stated."""

    object_key: str
    content_type: str
    size: int
    sha256: str
    duration_ms: int | None


async def find_audio(connection: Connection, at: Reach) -> asyncpg.Record | None:
    """`id` and `status` of the recording's one audio."""
    return await connection.fetchrow(FIND_AUDIO, at.world_id, at.recording_id)


async def find_media(connection: Connection, at: Reach, media_id: str) -> asyncpg.Record | None:
    """`status` and `type` of one media."""
    return await connection.fetchrow(FIND_MEDIA, at.world_id, at.recording_id, media_id)


async def count_media(connection: Connection, at: Reach) -> int:
    """How many media the recording has."""
    return await connection.fetchval(COUNT_MEDIA, at.world_id, at.recording_id)


async def insert_media(
    connection: Connection,
    at: Reach,
    media_id: str,
    media_type: str,
    content_type: str,
    captured_at: datetime | None,
    now: datetime,
    url_expires_at: datetime,
) -> None:
    """A new media, pending until its bytes are verified."""
    await connection.execute(
        INSERT_MEDIA,
        at.world_id,
        at.recording_id,
        media_id,
        media_type,
        content_type,
        captured_at,
        now,
        url_expires_at,
    )


async def renew_media(
    connection: Connection,
    at: Reach,
    media_id: str,
    content_type: str,
    captured_at: datetime | None,
    url_expires_at: datetime,
) -> None:
    """Make a pending or failed media pending, for a new upload URL."""
    await connection.execute(
        RENEW_MEDIA, at.world_id, at.recording_id, media_id, content_type, captured_at, url_expires_at
    )


async def count_attempts(
    connection: Connection, world_id: int, media_id: str, now: datetime
) -> tuple[int, int]:
    """How many upload URLs are kept of a media, and how many of them may still be used."""
    row = await connection.fetchrow(COUNT_ATTEMPTS, world_id, media_id, now)
    return (0, 0) if row is None else (row["kept"], row["valid"])


async def forget_attempts(
    connection: Connection, world_id: int, media_id: str, ended_before: datetime, keep: int
) -> None:
    """Delete URLs that ended before `ended_before`, except the newest `keep` and those being verified."""
    await connection.execute(FORGET_ATTEMPTS, world_id, media_id, ended_before, keep)


async def insert_attempt(
    connection: Connection,
    world_id: int,
    media_id: str,
    attempt_id: str,
    staging_key: str,
    content_type: str,
    file_size_bytes: int | None,
    sha256: str | None,
    url_expires_at: datetime,
    now: datetime,
) -> None:
    """One upload URL, with what was declared for it."""
    await connection.execute(
        INSERT_ATTEMPT,
        world_id,
        media_id,
        attempt_id,
        staging_key,
        content_type,
        file_size_bytes,
        sha256,
        url_expires_at,
        now,
    )


async def read_attempt(
    connection: Connection, world_id: int, media_id: str, attempt_id: str
) -> asyncpg.Record | None:
    """What was declared for one upload URL."""
    return await connection.fetchrow(READ_ATTEMPT, world_id, media_id, attempt_id)


async def keep_upload_access(
    connection: Connection, token_hash: bytes, at: Reach, expires_at: datetime, issued_by: str | None
) -> None:
    """A token for uploading to this one recording; `issued_by` is a key's id, None for a device."""
    await connection.execute(
        KEEP_UPLOAD_ACCESS, token_hash, at.world_id, at.recording_id, expires_at, issued_by
    )


async def read_recording_state(connection: Connection, at: Reach) -> asyncpg.Record | None:
    """`status`, `device_id`, `upload_method` and `project_id` of a recording, if the caller may see it."""
    return await connection.fetchrow(READ_RECORDING_STATE, *reached(at))


async def read_media_states(connection: Connection, at: Reach) -> list[asyncpg.Record]:
    """All media of a recording, oldest first."""
    return await connection.fetch(READ_MEDIA_STATES, at.world_id, at.recording_id)


async def read_open_attempts(connection: Connection, at: Reach) -> list[asyncpg.Record]:
    """The attempts that may still be taken, newest first."""
    return await connection.fetch(READ_OPEN_ATTEMPTS, at.world_id, at.recording_id)


async def move_media(
    connection: Connection,
    world_id: int,
    recording_id: str,
    media_id: str,
    *,
    before: str,
    after: str,
    failure: str | None = None,
    reconcile_at: datetime | None = None,
) -> bool:
    """Move a media from state `before` to `after`. False when it is in another state."""
    moved = await connection.fetchval(
        MOVE_MEDIA, world_id, recording_id, media_id, before, after, failure, reconcile_at
    )
    return moved is not None


async def move_attempt(
    connection: Connection, world_id: int, media_id: str, attempt_id: str, *, before: str, after: str
) -> bool:
    """Move an attempt from state `before` to `after`. False when it is in another state."""
    return await connection.fetchval(MOVE_ATTEMPT, world_id, media_id, attempt_id, before, after) is not None


async def refuse_attempt(
    connection: Connection,
    world_id: int,
    media_id: str,
    attempt_id: str,
    *,
    before: str,
    facts: tuple[str | None, int | None, int | None],
    now: datetime,
) -> bool:
    """Refuse an attempt in state `before`; `facts` (SHA-256, bytes, ms) are what it was checked against.

    False when it is in another state.
    """
    moved = await connection.fetchval(REFUSE_ATTEMPT, world_id, media_id, attempt_id, before, *facts, now)
    return moved is not None


async def read_refusals(connection: Connection, at: Reach) -> list[asyncpg.Record]:
    """The facts that failed media were checked against, and when; newest first, at most 100."""
    return await connection.fetch(READ_REFUSALS, at.world_id, at.recording_id)


async def begin_attempt(
    connection: Connection,
    world_id: int,
    media_id: str,
    attempt_id: str,
    *,
    sha256: str | None,
    size: int | None,
    duration_ms: int | None,
) -> bool:
    """Begin to verify an open attempt against these facts. False when it is not open."""
    begun = await connection.fetchval(
        BEGIN_ATTEMPT, world_id, media_id, attempt_id, sha256, size, duration_ms
    )
    return begun is not None


async def claim_media(
    connection: Connection,
    world_id: int,
    recording_id: str,
    media_id: str,
    before: str,
    verified: Verified,
    now: datetime,
) -> bool:
    """Let a media in state `before` serve the verified copy. False when it is in another state."""
    claimed = await connection.fetchval(
        CLAIM_MEDIA,
        world_id,
        recording_id,
        media_id,
        before,
        verified.content_type,
        verified.size,
        verified.sha256,
        verified.object_key,
        verified.duration_ms,
        now,
    )
    return claimed is not None


async def find_download(
    connection: Connection, world_id: int, recording_id: str, media_id: str, end_user_id: str | None
) -> asyncpg.Record | None:
    """Key, type, size and status of one media, and the recording's name."""
    return await connection.fetchrow(FIND_DOWNLOAD, world_id, recording_id, media_id, end_user_id)


async def find_audio_download(
    connection: Connection, world_id: int, recording_id: str, end_user_id: str | None
) -> asyncpg.Record | None:
    """As `find_download`, of the recording's one audio; `id` is None when there is no audio."""
    return await connection.fetchrow(FIND_AUDIO_DOWNLOAD, world_id, recording_id, end_user_id)
