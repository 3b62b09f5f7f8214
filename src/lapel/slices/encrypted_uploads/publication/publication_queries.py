"""The SQL that publishes sessions; every transition of the publication has one function.

                    claim                    publish
    ready, processing ---> processing  ----------------> published
                                       ----------------> failed
                                             fail

A claim gives the session a new lease, and ends the lease of the publisher before. Only the holder of the
lease publishes the session or lets it fail.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_only_row, fetch_row, fetch_rows, fetch_value
from lapel.slices.encrypted_uploads.wire import Channel

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.slices.encrypted_uploads.documents.failures import Reason

# Sessions that a measurement looks at.
_MOST_WAITING = 10_000

# A session whose job is lost is due again at `publish_at`.
CLAIM = """
UPDATE encrypted_upload_sessions
SET state = 'processing', lease = $3, tries = tries + 1, publish_at = $4, updated_at = $5
WHERE world_id = $1 AND id = $2 AND state IN ('ready', 'processing')
RETURNING world_id, id, recording_id, device_id, end_user_id, channel, ciphertext_length, staging_key,
    upload_authorization, manifest, sealed_recipient_key
"""

# The constraint on `receipt`, and the final state, make sure that a session has one receipt for ever.
PUBLISH = """
UPDATE encrypted_upload_sessions
SET state = 'published', receipt = $4, media_id = $5, plaintext_length = $6, published_at = $7,
    updated_at = $7, clear_at = $7, lease = NULL, publish_at = NULL, sealed_recipient_key = NULL
WHERE world_id = $1 AND id = $2 AND lease = $3 AND state = 'processing' AND receipt IS NULL
RETURNING id
"""

FAIL = """
UPDATE encrypted_upload_sessions
SET state = 'failed', failure_code = $4, failure_message = $5, updated_at = $6, clear_at = $6, lease = NULL,
    publish_at = NULL, sealed_recipient_key = NULL
WHERE world_id = $1 AND id = $2 AND lease = $3 AND state = 'processing'
RETURNING id
"""

# The recording is deleted, and a job or the release of a hold will delete the session with it.
LEAVE = """
UPDATE encrypted_upload_sessions SET publish_at = NULL, lease = NULL
WHERE world_id = $1 AND id = $2 AND lease = $3
"""

# Index: encrypted_upload_sessions_due. Eight tries are those of one job. The time doubles with each job, up
# to a day, so that a session which always fails does not fill the queue with jobs that are held.
TAKE_DUE = """
WITH due AS MATERIALIZED (
    SELECT world_id, id FROM encrypted_upload_sessions
    WHERE publish_at <= $1 AND state IN ('ready', 'processing')
    ORDER BY publish_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE encrypted_upload_sessions s
SET publish_at = $1 + least(interval '15 minutes' * power(2, least(s.tries / 8, 10)), interval '1 day')
FROM due WHERE s.world_id = due.world_id AND s.id = due.id
RETURNING s.world_id, s.id, s.ciphertext_length
"""

# Sessions of deleted recordings, which a hold keeps, do not wait. Index: encrypted_upload_sessions_due.
WAITING = """
SELECT count(*) AS sessions,
    greatest(coalesce(extract(epoch FROM $1 - min(w.accepted_at)), 0), 0)::float8 AS seconds
FROM (
    SELECT accepted_at FROM encrypted_upload_sessions
    WHERE publish_at IS NOT NULL AND state IN ('ready', 'processing') ORDER BY publish_at LIMIT $2
) w
"""


class PublishableRow(msgspec.Struct, frozen=True):
    """A session that this publisher works on. `ciphertext_length`: bytes."""

    world_id: int
    id: str
    recording_id: str
    device_id: str
    end_user_id: str
    channel: Channel
    ciphertext_length: int
    staging_key: str
    upload_authorization: bytes
    manifest: bytes | None
    sealed_recipient_key: bytes | None


class DuePublicationRow(msgspec.Struct, frozen=True):
    """A session whose job may be lost. `ciphertext_length`: bytes."""

    world_id: int
    id: str
    ciphertext_length: int


class PublicationsWaitingRow(msgspec.Struct, frozen=True):
    """How many accepted sessions are not published, and for how long the oldest waits, in seconds."""

    sessions: int
    seconds: float


async def claim(
    connection: Connection, world_id: int, session_id: str, lease: str, until: datetime, now: datetime
) -> PublishableRow | None:
    """Take a session whose manifest was accepted. None when nothing is left to do for it."""
    return await fetch_row(connection, PublishableRow, CLAIM, world_id, session_id, lease, until, now)


async def publish(
    connection: Connection,
    session: PublishableRow,
    lease: str,
    *,
    receipt: bytes,
    media_id: str,
    plaintext_length: int,
    now: datetime,
) -> bool:
    """Store the receipt, erase the private key, and let the staged object be deleted.

    False, and nothing is stored, when the lease is another publisher's.
    """
    values = (session.world_id, session.id, lease, receipt, media_id, plaintext_length, now)
    return await fetch_value(connection, str, PUBLISH, *values) is not None


async def fail(
    connection: Connection, session: PublishableRow, lease: str, code: Reason, message: str, now: datetime
) -> bool:
    """Let a session fail, erase the private key, and let the staged object be deleted; else as `publish`."""
    values = (session.world_id, session.id, lease, code, message, now)
    return await fetch_value(connection, str, FAIL, *values) is not None


async def leave(connection: Connection, session: PublishableRow, lease: str) -> None:
    """Leave a session, with its key, to the deletion of its recording."""
    await connection.execute(LEAVE, session.world_id, session.id, lease)


async def take_due(connection: Connection, now: datetime, limit: int) -> list[DuePublicationRow]:
    """Sessions whose publication is due, `limit` at most. They are due again some time later."""
    return await fetch_rows(connection, DuePublicationRow, TAKE_DUE, now, limit)


async def measure_publications(connection: Connection, now: datetime) -> PublicationsWaitingRow:
    """How far the workers are behind with publications, of all worlds."""
    return await fetch_only_row(connection, PublicationsWaitingRow, WAITING, now, _MOST_WAITING)
