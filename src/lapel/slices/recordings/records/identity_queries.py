"""All SQL of the name that a device gives a recording: its UUID and generation."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_row
from lapel.slices.recordings.records.record_queries import REACHED, reached
from lapel.slices.recordings.wire import RecordingStatus

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.slices.recordings.access import Reach


class IdentityRow(msgspec.Struct, frozen=True):
    """A recording: whose it is, which device made it, and how that device names it."""

    end_user_id: str
    device_id: str | None
    status: RecordingStatus
    recording_uuid: str | None
    recording_generation: int | None
    audio_erased_at: datetime | None


FIND_IDENTITY = f"""
SELECT r.end_user_id, r.device_id, r.status, r.recording_uuid, r.recording_generation, r.audio_erased_at
FROM recordings r WHERE {REACHED}
"""
LOCK_IDENTITY = f"{FIND_IDENTITY} FOR NO KEY UPDATE"

SET_IDENTITY = """
UPDATE recordings SET recording_uuid = $3, recording_generation = $4, updated_at = $5
WHERE world_id = $1 AND id = $2
"""


async def find(connection: Connection, at: Reach, *, lock: bool) -> IdentityRow | None:
    """The recording, if the caller reaches it. `lock`: lock it until the transaction ends."""
    return await fetch_row(connection, IdentityRow, LOCK_IDENTITY if lock else FIND_IDENTITY, *reached(at))


async def set_identity(
    connection: Connection,
    world_id: int,
    recording_id: str,
    recording_uuid: str,
    recording_generation: int,
    now: datetime,
) -> None:
    """Name a locked recording. Raises UniqueViolationError when the device has named another one so."""
    await connection.execute(SET_IDENTITY, world_id, recording_id, recording_uuid, recording_generation, now)
