"""The SQL of media, upload attempts and upload tokens. media_states.py has the SQL that changes states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_only_row, fetch_only_value, fetch_row, fetch_rows
from lapel.slices.recordings.records.record_queries import REACHED, reached
from lapel.slices.recordings.uploads.rows import (
    AttemptCountsRow,
    DeclaredRow,
    MediaStatusRow,
    RecordingStateRow,
    RefusalRow,
)

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.slices.recordings.access import Reach

# ---- upload-url -------------------------------------------------------------------------

FIND_AUDIO = """
SELECT id, status FROM media WHERE world_id = $1 AND recording_id = $2 AND type = 'audio'
"""

FIND_MEDIA = "SELECT id, status FROM media WHERE world_id = $1 AND recording_id = $2 AND id = $3"

COUNT_MEDIA = "SELECT count(*) FROM media WHERE world_id = $1 AND recording_id = $2"

# The number of attempts of a media, and the number of those attempts whose URL is still valid.
COUNT_ATTEMPTS = """
SELECT count(*) AS kept, count(*) FILTER (WHERE url_expires_at > $3) AS valid FROM upload_attempts
WHERE world_id = $1 AND media_id = $2
"""

# The newest $4 attempts stay, whatever their age.
FORGET_ATTEMPTS = """
DELETE FROM upload_attempts
WHERE world_id = $1 AND media_id = $2 AND url_expires_at < $3 AND state <> 'verifying' AND id <= (
    SELECT id FROM upload_attempts WHERE world_id = $1 AND media_id = $2 ORDER BY id DESC OFFSET $4 LIMIT 1)
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

# One statement reads one moment, in one round trip: its lists are JSON. `attempts`: those that may complete
# their media, newest first.
READ_STATE = f"""
SELECT r.end_user_id, r.status, r.device_id, r.binding_generation, r.upload_method, w.project_id,
    r.audio_erased_at, r.content_sha256, r.file_size_bytes, r.duration_ms, r.claimed_duration_ms,
    own.media, tried.attempts
FROM recordings r JOIN worlds w ON w.id = r.world_id
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_object(
        'id', m.id, 'type', m.type, 'status', m.status, 'file_size_bytes', m.file_size_bytes,
        'sha256', m.sha256, 'duration_ms', m.duration_ms, 'claimed_duration_ms', m.claimed_duration_ms,
        'failure', m.failure, 'uploaded_at', m.uploaded_at, 'last_url_expires_at', m.last_url_expires_at
    ) ORDER BY m.created_at, m.id) AS media
    FROM media m WHERE m.world_id = r.world_id AND m.recording_id = r.id
) own ON true
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_object(
        'media_id', a.media_id, 'id', a.id, 'staging_key', a.staging_key, 'content_type', a.content_type,
        'file_size_bytes', a.file_size_bytes, 'sha256', a.sha256, 'state', a.state,
        'expected_sha256', a.expected_sha256, 'expected_size', a.expected_size,
        'expected_duration_ms', a.expected_duration_ms
    ) ORDER BY a.created_at DESC, a.id DESC) AS attempts
    FROM media m JOIN upload_attempts a ON a.world_id = m.world_id AND a.media_id = m.id
    WHERE m.world_id = r.world_id AND m.recording_id = r.id AND m.status IN ('pending', 'verifying')
        AND a.state IN ('issued', 'verifying')
) tried ON true
WHERE {REACHED}
"""

READ_REFUSALS = """
SELECT m.id AS media_id, m.failure, a.expected_sha256, a.expected_size, a.expected_duration_ms, a.refused_at
FROM media m JOIN upload_attempts a ON a.world_id = m.world_id AND a.media_id = m.id
WHERE m.world_id = $1 AND m.recording_id = $2 AND m.status = 'failed' AND a.refused_at IS NOT NULL
ORDER BY a.refused_at DESC LIMIT 100
"""


async def find_audio(connection: Connection, at: Reach) -> MediaStatusRow | None:
    """The recording's one audio."""
    return await fetch_row(connection, MediaStatusRow, FIND_AUDIO, at.world_id, at.recording_id)


async def find_media(connection: Connection, at: Reach, media_id: str) -> MediaStatusRow | None:
    """One media."""
    return await fetch_row(connection, MediaStatusRow, FIND_MEDIA, at.world_id, at.recording_id, media_id)


async def count_media(connection: Connection, at: Reach) -> int:
    """The number of the recording's media."""
    return await fetch_only_value(connection, int, COUNT_MEDIA, at.world_id, at.recording_id)


async def count_attempts(
    connection: Connection, world_id: int, media_id: str, now: datetime
) -> AttemptCountsRow:
    """The number of attempts of a media, and of those whose URL is valid at `now`."""
    return await fetch_only_row(connection, AttemptCountsRow, COUNT_ATTEMPTS, world_id, media_id, now)


async def forget_attempts(
    connection: Connection, world_id: int, media_id: str, ended_before: datetime, keep: int
) -> None:
    """Delete the attempts whose URL ended before `ended_before`.

    The newest `keep` attempts stay, and so do the attempts that are being verified.
    """
    await connection.execute(FORGET_ATTEMPTS, world_id, media_id, ended_before, keep)


async def read_attempt(
    connection: Connection, world_id: int, media_id: str, attempt_id: str
) -> DeclaredRow | None:
    """What was declared for the URL of one attempt."""
    return await fetch_row(connection, DeclaredRow, READ_ATTEMPT, world_id, media_id, attempt_id)


async def keep_upload_access(
    connection: Connection, token_hash: bytes, at: Reach, expires_at: datetime, issued_by: str | None
) -> None:
    """Store a token that uploads to one recording. `issued_by`: the id of a key; None: a device issued it."""
    await connection.execute(
        KEEP_UPLOAD_ACCESS, token_hash, at.world_id, at.recording_id, expires_at, issued_by
    )


async def read_state(connection: Connection, at: Reach) -> RecordingStateRow | None:
    """The state of a recording, with its media and open attempts, if the caller may see it."""
    return await fetch_row(connection, RecordingStateRow, READ_STATE, *reached(at))


async def read_refusals(connection: Connection, at: Reach) -> list[RefusalRow]:
    """Refused objects of failed media, with the facts that were compared; newest first, at most 100."""
    return await fetch_rows(connection, RefusalRow, READ_REFUSALS, at.world_id, at.recording_id)
