"""All SQL of erasing the audio of recordings that stay."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_rows
from lapel.slices.recordings.access import PRESENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection


class ErasableAudioRow(msgspec.Struct, frozen=True):
    """The uploaded audio of a recording, and the end of its last upload URL."""

    id: str
    end_user_id: str
    project_id: str
    media_id: str
    last_url_expires_at: datetime


class PresentAudioRow(msgspec.Struct, frozen=True):
    """An audio, and its recording."""

    id: str
    recording_id: str


READ_AUDIO = """
SELECT r.id, r.end_user_id, w.project_id, m.id AS media_id, m.last_url_expires_at
FROM recordings r
JOIN worlds w ON w.id = r.world_id
JOIN media m ON m.world_id = r.world_id AND m.recording_id = r.id AND m.type = 'audio'
    AND m.status = 'uploaded'
WHERE r.world_id = $1 AND r.id = ANY($2::text[])
"""

# Uploaded audio of recordings that are not deleted.
FIND_PRESENT_AUDIO = f"""
SELECT m.id, m.recording_id
FROM unnest($2::text[], $3::text[]) AS asked (recording_id, media_id)
JOIN media m ON m.world_id = $1 AND m.recording_id = asked.recording_id AND m.id = asked.media_id
JOIN recordings r ON r.world_id = m.world_id AND r.id = m.recording_id
WHERE m.type = 'audio' AND m.status = 'uploaded' AND {PRESENT}
ORDER BY m.recording_id
"""

# The foreign keys delete the attempts of the audio, and what its probe has found, such as the waveform.
DELETE_AUDIO = """
DELETE FROM media WHERE world_id = $1 AND recording_id = ANY($2::text[]) AND type = 'audio'
"""

SET_AUDIO_ERASED = """
UPDATE recordings SET audio_erased_at = $3, updated_at = $3 WHERE world_id = $1 AND id = ANY($2::text[])
"""


async def read_audio(
    connection: Connection, world_id: int, recording_ids: list[str]
) -> list[ErasableAudioRow]:
    """The uploaded audio of these recordings."""
    return await fetch_rows(connection, ErasableAudioRow, READ_AUDIO, world_id, recording_ids)


async def find_present_audio(
    connection: Connection, world_id: int, recording_ids: Sequence[str], media_ids: Sequence[str]
) -> list[PresentAudioRow]:
    """Those of these media that are the uploaded audio of a recording that is not deleted."""
    given = (world_id, list(recording_ids), list(media_ids))
    return await fetch_rows(connection, PresentAudioRow, FIND_PRESENT_AUDIO, *given)


async def delete_audio(connection: Connection, world_id: int, recording_ids: list[str]) -> None:
    """Delete the rows of the audio of these recordings."""
    await connection.execute(DELETE_AUDIO, world_id, recording_ids)


async def set_audio_erased(
    connection: Connection, world_id: int, recording_ids: list[str], now: datetime
) -> None:
    """Store that the audio of these recordings is erased. The recordings keep its hash, size and duration."""
    await connection.execute(SET_AUDIO_ERASED, world_id, recording_ids, now)
