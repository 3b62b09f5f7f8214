"""The states of media and of upload attempts, and every statement that changes such a state.

A media is one audio, image or video of a recording. An attempt is one upload URL of a media.

    create           begin
    -----> pending ----------> verifying
           ^ |  |  <----------   |  |
           | |  |  hand_back,    |  |
           | |  |  abandon       |  |
           | |  |                |  |
           | |  +--> uploaded <--+  |    accept
           | |                      |
           | +-----> failed <-------+    refuse; from pending also expire
           |           |
           +-----------+                 renew

In addition, take_over makes a media `uploaded` that is new, pending, being verified or failed.

The attempt changes its state together with its media, in the same transaction:

    transition   the media                         its attempt
    issue                                          (new) to issued
    begin        pending to verifying              issued to verifying
    hand_back    verifying to pending              verifying to issued
    abandon      verifying to pending              verifying to refused
    accept       pending, verifying to uploaded    issued, verifying to accepted
    refuse       pending, verifying to failed      issued, verifying to refused
    create       (new) to pending
    renew        pending, failed to pending
    expire       pending to failed
    take_over    all but uploaded to uploaded      issued, verifying to refused

`uploaded`, `accepted` and `refused` are final. A transition of a completion names the states that the
completion has read. If the rows are in other states, the transition raises LostRace, and the caller rolls
back. This is optimistic concurrency control (Kung and Robinson, ACM TODS 6(2), 1981).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lapel.foundation.database.rows import fetch_values

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.slices.recordings.access import Reach
    from lapel.slices.recordings.content_types import MediaType
    from lapel.slices.recordings.uploads.facts import Facts

MediaStatus = Literal["pending", "verifying", "uploaded", "failed"]
AttemptState = Literal["issued", "verifying", "accepted", "refused"]

# The reconciler looks at the media when its URL ends.
CREATE_MEDIA = """
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

ISSUE_ATTEMPT = """
INSERT INTO upload_attempts (world_id, media_id, id, staging_key, content_type, file_size_bytes, sha256,
    state, url_expires_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, 'issued', $8, $9)
"""

BEGIN_MEDIA = """
UPDATE media SET status = 'verifying', failure = NULL, reconcile_at = $4
WHERE world_id = $1 AND recording_id = $2 AND id = $3 AND status = 'pending'
RETURNING id
"""
BEGIN_ATTEMPT = """
UPDATE upload_attempts SET state = 'verifying', expected_sha256 = $4, expected_size = $5,
    expected_duration_ms = $6
WHERE world_id = $1 AND media_id = $2 AND id = $3 AND state = 'issued'
RETURNING id
"""

# `abandon` uses this statement too.
HAND_BACK_MEDIA = """
UPDATE media SET status = 'pending', failure = NULL, reconcile_at = $4
WHERE world_id = $1 AND recording_id = $2 AND id = $3 AND status = 'verifying'
RETURNING id
"""
HAND_BACK_ATTEMPT = """
UPDATE upload_attempts SET state = 'issued'
WHERE world_id = $1 AND media_id = $2 AND id = $3 AND state = 'verifying'
RETURNING id
"""
# `refused_at` stays NULL: nothing was compared, so a repeat of the call must not be answered with a refusal.
ABANDON_ATTEMPT = """
UPDATE upload_attempts SET state = 'refused'
WHERE world_id = $1 AND media_id = $2 AND id = $3 AND state = 'verifying'
RETURNING id
"""

# $4 to $6: the attempt and its state, and the media's state, that were read.
ACCEPT = """
WITH attempt AS (
    UPDATE upload_attempts SET state = 'accepted'
    WHERE world_id = $1 AND media_id = $3 AND id = $4 AND state = $5 AND state IN ('issued', 'verifying')
    RETURNING id
)
UPDATE media SET status = 'uploaded', failure = NULL, content_type = $7, file_size_bytes = $8, sha256 = $9,
    object_key = $10, duration_ms = COALESCE($11, duration_ms), uploaded_at = $12
WHERE world_id = $1 AND recording_id = $2 AND id = $3 AND status = $6 AND status IN ('pending', 'verifying')
    AND EXISTS (SELECT FROM attempt)
RETURNING id
"""

# $4 of the next two statements: the state that was read.
REFUSE_MEDIA = """
UPDATE media SET status = 'failed', failure = $5
WHERE world_id = $1 AND recording_id = $2 AND id = $3 AND status = $4 AND status IN ('pending', 'verifying')
RETURNING id
"""
REFUSE_ATTEMPT = """
UPDATE upload_attempts SET state = 'refused', expected_sha256 = $5, expected_size = $6,
    expected_duration_ms = $7, refused_at = $8
WHERE world_id = $1 AND media_id = $2 AND id = $3 AND state = $4 AND state IN ('issued', 'verifying')
RETURNING id
"""

EXPIRE_MEDIA = """
UPDATE media SET status = 'failed', failure = $4
WHERE world_id = $1 AND recording_id = $2 AND id = ANY($3::text[]) AND status = 'pending'
  AND last_url_expires_at <= $5
RETURNING id
"""


# The audio of an encrypted upload has no attempt. The attempts that the media has can be accepted no more.
TAKE_OVER_MEDIA = """
INSERT INTO media (world_id, recording_id, id, type, status, content_type, file_size_bytes, sha256,
    object_key, duration_ms, uploaded_at, created_at, last_url_expires_at, reconcile_at)
VALUES ($1, $2, $3, 'audio', 'uploaded', $4, $5, $6, $7, $8, $9, $9, $10, $10)
ON CONFLICT (world_id, recording_id, id) DO UPDATE SET status = 'uploaded', failure = NULL, content_type = $4,
    file_size_bytes = $5, sha256 = $6, object_key = $7, duration_ms = $8, uploaded_at = $9,
    last_url_expires_at = GREATEST(media.last_url_expires_at, $10)
WHERE media.status <> 'uploaded'
RETURNING id
"""
END_ATTEMPTS = """
UPDATE upload_attempts SET state = 'refused'
WHERE world_id = $1 AND media_id = $2 AND state IN ('issued', 'verifying')
"""


class LostRace(Exception):
    """Another request changed a row that a completion relies on. The completion must roll back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMedia:
    """A media that gets its first upload URL."""

    id: str
    type: MediaType
    content_type: str
    captured_at: datetime | None
    created_at: datetime
    url_expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAttempt:
    """An upload URL and its declared facts: content type, size in bytes, SHA-256 in hexadecimal."""

    media_id: str
    id: str
    staging_key: str
    content_type: str
    size: int | None
    sha256: str | None
    created_at: datetime
    url_expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A media and one of its attempts, with the states that a completion has read."""

    world_id: int
    recording_id: str
    media_id: str
    status: MediaStatus
    attempt_id: str
    state: AttemptState

    @property
    def media(self) -> tuple[int, str, str]:
        """The key of the media's row."""
        return self.world_id, self.recording_id, self.media_id

    @property
    def attempt(self) -> tuple[int, str, str]:
        """The key of the attempt's row."""
        return self.world_id, self.media_id, self.attempt_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A verified copy. The store computed its SHA-256 (hexadecimal) while it copied, or the copy was read
    back. The size is in bytes; the duration is the client's."""

    object_key: str
    content_type: str
    size: int
    sha256: str
    duration_ms: int | None


async def create(connection: Connection, at: Reach, new: NewMedia) -> None:
    """Insert a media, pending until its bytes are verified."""
    await connection.execute(
        CREATE_MEDIA,
        at.world_id,
        at.recording_id,
        new.id,
        new.type,
        new.content_type,
        new.captured_at,
        new.created_at,
        new.url_expires_at,
    )


async def renew(
    connection: Connection,
    at: Reach,
    media_id: str,
    content_type: str,
    captured_at: datetime | None,
    url_expires_at: datetime,
) -> None:
    """Set a pending or failed media to pending, for one more upload URL."""
    await connection.execute(
        RENEW_MEDIA, at.world_id, at.recording_id, media_id, content_type, captured_at, url_expires_at
    )


async def issue(connection: Connection, world_id: int, new: NewAttempt) -> None:
    """Insert the attempt of a new upload URL."""
    await connection.execute(
        ISSUE_ATTEMPT,
        world_id,
        new.media_id,
        new.id,
        new.staging_key,
        new.content_type,
        new.size,
        new.sha256,
        new.url_expires_at,
        new.created_at,
    )


async def begin(connection: Connection, of: Observed, expected: Facts, reconcile_at: datetime) -> None:
    """Let a job verify the attempt's object against `expected`. Raises LostRace."""
    await _change(
        connection, BEGIN_ATTEMPT, *of.attempt, expected.sha256, expected.size, expected.duration_ms
    )
    await _change(connection, BEGIN_MEDIA, *of.media, reconcile_at)


async def hand_back(connection: Connection, of: Observed, reconcile_at: datetime) -> None:
    """End a verification without a verdict. The attempt may be verified again. Raises LostRace."""
    await _change(connection, HAND_BACK_ATTEMPT, *of.attempt)
    await _change(connection, HAND_BACK_MEDIA, *of.media, reconcile_at)


async def abandon(connection: Connection, of: Observed, reconcile_at: datetime) -> None:
    """End a verification whose staged object is gone. Raises LostRace."""
    await _change(connection, ABANDON_ATTEMPT, *of.attempt)
    await _change(connection, HAND_BACK_MEDIA, *of.media, reconcile_at)


async def accept(connection: Connection, of: Observed, verified: Verified, now: datetime) -> None:
    """Let the media serve the verified copy. Raises LostRace."""
    await _change(
        connection,
        ACCEPT,
        *of.media,
        of.attempt_id,
        of.state,
        of.status,
        verified.content_type,
        verified.size,
        verified.sha256,
        verified.object_key,
        verified.duration_ms,
        now,
    )


async def refuse(
    connection: Connection, of: Observed, expected: Facts, failure: str | None, now: datetime
) -> None:
    """Refuse an object that does not match `expected`; `failure` says why. Raises LostRace."""
    facts = expected.sha256, expected.size, expected.duration_ms
    await _change(connection, REFUSE_ATTEMPT, *of.attempt, of.state, *facts, now)
    await _change(connection, REFUSE_MEDIA, *of.media, of.status, failure)


async def take_over(
    connection: Connection, at: Reach, media_id: str, verified: Verified, now: datetime, links_end: datetime
) -> None:
    """Let the one audio of a locked recording serve an object that no attempt uploaded; see the diagram.

    `media_id`: the recording's audio, or the id of a new one. `links_end`: when the last link ends with which
    bytes of this audio can be uploaded. Raises LostRace when the media is uploaded.
    """
    await _change(
        connection,
        TAKE_OVER_MEDIA,
        at.world_id,
        at.recording_id,
        media_id,
        verified.content_type,
        verified.size,
        verified.sha256,
        verified.object_key,
        verified.duration_ms,
        now,
        links_end,
    )
    await connection.execute(END_ATTEMPTS, at.world_id, media_id)


async def expire(
    connection: Connection, at: Reach, media_ids: list[str], failure: str, ended_before: datetime
) -> list[str]:
    """Fail media that are pending and whose last URL ended by `ended_before`. Returns their ids."""
    return await fetch_values(
        connection, str, EXPIRE_MEDIA, at.world_id, at.recording_id, media_ids, failure, ended_before
    )


async def _change(connection: Connection, statement: str, *arguments: object) -> None:
    """Run a statement that returns the id of the changed row. Raises LostRace when it finds no row."""
    if await connection.fetchval(statement, *arguments) is None:
        raise LostRace
