"""The SQL of sessions that routes run; every transition of a route has one function.

                            recover, cancel
    create, recover          --------------> cancelled
    ---------------> staging
                             --------------> ready
                                 accept

From `ready` on, the publication changes the state. A row that is `staging` shows as `expired` once its time
is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_only_value, fetch_row, fetch_rows, fetch_values
from lapel.slices.devices.service import device_of_row
from lapel.slices.encrypted_uploads.sessions.rows import SealedRecipientRow, UploadSessionRow
from lapel.slices.projects.service import WORLDS_IN_PROJECTS
from lapel.slices.recordings.service import seen_recording

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lapel.foundation.database.connection import Connection
    from lapel.slices.encrypted_uploads.documents.profiles import PolicyName
    from lapel.slices.encrypted_uploads.wire import Channel

_COLUMNS = """
s.id, s.recording_id, s.device_id, s.end_user_id, s.owner_revision, s.state, s.channel, s.policy,
s.binding_generation, s.recording_uuid, s.recording_generation, s.capabilities, s.auth_nonce,
s.ciphertext_length, s.ciphertext_sha256, s.staging_key, s.upload_authorization, s.sealed_recipient_key,
s.manifest, s.plaintext_length, s.receipt, s.published_at, s.failure_code, s.failure_message, s.expires_at,
coalesce(d.end_user_id = s.end_user_id AND d.binding_generation = s.binding_generation, false) AS still_bound
"""
_WITH_DEVICE = f"encrypted_upload_sessions s LEFT JOIN {device_of_row('s', 'ON')}"

# $4: the only end user whose sessions the caller may see; NULL: any.
READ = f"""
SELECT {_COLUMNS} FROM {_WITH_DEVICE}
WHERE s.world_id = $1 AND s.recording_id = $2 AND s.id = $3 AND {seen_recording("s", "$4")}
"""
LOCK = f"{READ} FOR UPDATE OF s"

# The newest first. A recording has few sessions, so those that cannot answer a repeat are read too.
OF_RECORDING = f"""
SELECT {_COLUMNS} FROM {_WITH_DEVICE}
WHERE s.world_id = $1 AND s.recording_id = $2 AND s.state IN ('staging', 'ready', 'processing', 'published')
ORDER BY s.created_at DESC, s.id
FOR UPDATE OF s
"""

# For the operator, over all projects, batch by batch: those behind the session $1, $2. A session has its key
# until it is published or given up.
LIST_RECIPIENT_KEYS = """
SELECT world_id, id, sealed_recipient_key FROM encrypted_upload_sessions
WHERE sealed_recipient_key IS NOT NULL AND (world_id, id) > ($1, $2) ORDER BY world_id, id LIMIT $3
"""
RESEAL = """
UPDATE encrypted_upload_sessions SET sealed_recipient_key = $4
WHERE world_id = $1 AND id = $2 AND sealed_recipient_key = $3
"""

READ_SUCCESSOR = f"""
SELECT {_COLUMNS} FROM {_WITH_DEVICE} WHERE s.world_id = $1 AND s.predecessor_id = $2
"""

# Index: encrypted_upload_sessions_of_recording.
NEWEST_SINCE = """
SELECT created_at FROM encrypted_upload_sessions
WHERE world_id = $1 AND recording_id = $2 AND created_at > $3
ORDER BY created_at DESC LIMIT $4
"""

INSERT = """
INSERT INTO encrypted_upload_sessions
    (world_id, id, recording_id, device_id, end_user_id, owner_revision, state, channel, policy,
     policy_revision, binding_generation, recording_uuid, recording_generation, capabilities, auth_nonce,
     ciphertext_length, ciphertext_sha256, staging_key, upload_authorization, configuration,
     recipient_key_id, sealed_recipient_key, predecessor_id, clear_at, expires_at, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, 'staging', $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
        $21, $22, $23, $24, $25, $25)
"""

CANCEL = """
UPDATE encrypted_upload_sessions
SET state = 'cancelled', sealed_recipient_key = NULL, clear_at = $3, updated_at = $3
WHERE world_id = $1 AND id = $2 AND state = 'staging'
"""

ACCEPT = """
UPDATE encrypted_upload_sessions
SET state = 'ready', manifest = $3, accepted_at = $4, publish_at = $4, updated_at = $4
WHERE world_id = $1 AND id = $2 AND state = 'staging'
"""

FIND_ORGANIZATION = f"SELECT p.organization_id FROM {WORLDS_IN_PROJECTS} WHERE w.id = $1"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session as it is issued. `clear_at`: when its staged object goes if no manifest is accepted."""

    id: str
    recording_id: str
    device_id: str
    end_user_id: str
    owner_revision: int
    channel: Channel
    policy: PolicyName
    policy_revision: int
    binding_generation: int
    recording_uuid: str
    recording_generation: int
    capabilities: bytes
    auth_nonce: bytes
    ciphertext_length: int
    ciphertext_sha256: str
    staging_key: str
    upload_authorization: bytes
    configuration: bytes
    recipient_key_id: str
    sealed_recipient_key: bytes
    predecessor_id: str | None
    clear_at: datetime
    expires_at: datetime


async def read(
    connection: Connection,
    world_id: int,
    recording_id: str,
    session_id: str,
    only: str | None,
    *,
    lock: bool = False,
) -> UploadSessionRow | None:
    """A session of a recording. `only`: the end user whose sessions the caller may see; None: all.

    `lock`: lock it until the transaction ends; the caller has locked the recording before.
    """
    return await fetch_row(
        connection, UploadSessionRow, LOCK if lock else READ, world_id, recording_id, session_id, only
    )


async def lock_of_recording(
    connection: Connection, world_id: int, recording_id: str
) -> list[UploadSessionRow]:
    """The sessions of a locked recording that may answer the repeat of their creation, newest first."""
    return await fetch_rows(connection, UploadSessionRow, OF_RECORDING, world_id, recording_id)


async def read_successor(connection: Connection, world_id: int, session_id: str) -> UploadSessionRow | None:
    """The session that was recovered from this one."""
    return await fetch_row(connection, UploadSessionRow, READ_SUCCESSOR, world_id, session_id)


async def newest_since(
    connection: Connection, world_id: int, recording_id: str, since: datetime, limit: int
) -> list[datetime]:
    """When the sessions of a locked recording were created: those after `since`, newest first."""
    return await fetch_values(connection, datetime, NEWEST_SINCE, world_id, recording_id, since, limit)


async def insert(connection: Connection, world_id: int, new: NewSession, now: datetime) -> None:
    """Store a new session of a locked recording, which has no open one."""
    await connection.execute(
        INSERT,
        world_id,
        new.id,
        new.recording_id,
        new.device_id,
        new.end_user_id,
        new.owner_revision,
        new.channel,
        new.policy,
        new.policy_revision,
        new.binding_generation,
        new.recording_uuid,
        new.recording_generation,
        new.capabilities,
        new.auth_nonce,
        new.ciphertext_length,
        new.ciphertext_sha256,
        new.staging_key,
        new.upload_authorization,
        new.configuration,
        new.recipient_key_id,
        new.sealed_recipient_key,
        new.predecessor_id,
        new.clear_at,
        new.expires_at,
        now,
    )


async def cancel(connection: Connection, world_id: int, session_id: str, now: datetime) -> None:
    """Cancel a locked session that is `staging`: its private key goes, and its object can be deleted."""
    await connection.execute(CANCEL, world_id, session_id, now)


async def accept(
    connection: Connection, world_id: int, session_id: str, manifest: bytes, now: datetime
) -> None:
    """Accept the manifest of a locked session that is `staging`; its publication is due now."""
    await connection.execute(ACCEPT, world_id, session_id, manifest, now)


async def walk_recipient_keys(connection: Connection, batch: int) -> AsyncGenerator[list[SealedRecipientRow]]:
    """The sealed keys of all sessions, so many in each batch."""
    after = (0, "")
    while rows := await fetch_rows(connection, SealedRecipientRow, LIST_RECIPIENT_KEYS, *after, batch):
        yield rows
        after = (rows[-1].world_id, rows[-1].id)


async def reseal(row: SealedRecipientRow, connection: Connection, sealed_key: bytes) -> None:
    """Replace a sealed key, unless it is gone by now."""
    await connection.execute(RESEAL, row.world_id, row.id, row.sealed_recipient_key, sealed_key)


async def read_organization(connection: Connection, world_id: int) -> str:
    """The id of the organization that owns a world's project."""
    return await fetch_only_value(connection, str, FIND_ORGANIZATION, world_id)
