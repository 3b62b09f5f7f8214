"""Erasure of the audio of recordings that stay, with their other media, transcriptions and facts.

The audio's row, its attempts and its waveform go in the transaction that writes the ledger entry; the erasure
job deletes the objects. A transcription that is still being made finds no audio at its next step, and fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.storage import object_names
from lapel.slices.erasure.service import RecordingToErase
from lapel.slices.recordings.deletion import audio_erasure_queries

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.slices.erasure.service import Cause, Erasures


async def erase_audio(
    connection: Connection,
    erasures: Erasures,
    world_id: int,
    recording_ids: list[str],
    cause: Cause,
    now: datetime,
) -> int:
    """Erase the audio of these recordings, which the caller has locked. Returns the number of audio.

    A recording without an uploaded audio stays as it is.
    """
    rows = await audio_erasure_queries.read_audio(connection, world_id, recording_ids)
    if not rows:
        return 0
    media = [
        RecordingToErase(
            row.id,
            row.end_user_id,
            object_names.audio_prefixes(row.project_id, row.id, row.media_id),
            row.last_url_expires_at,
            held=False,
            media_id=row.media_id,
        )
        for row in rows
    ]
    await erasures.open_recordings(
        connection, world_id, media, end_user_id=None, cause=cause, now=now, one_job=True
    )
    erased = [row.id for row in rows]
    await audio_erasure_queries.delete_audio(connection, world_id, erased)
    await audio_erasure_queries.set_audio_erased(connection, world_id, erased, now)
    return len(rows)
