"""SQL of the state of a transcription, for slices that work with its transcript."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_row
from lapel.slices.recordings.service import seen_recording
from lapel.slices.transcription.speech.transcript import Status

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection


class TranscriptionStateRow(msgspec.Struct, frozen=True):
    """A transcription's recording and status."""

    recording_id: str
    status: Status


# $3: the end user whose recordings the caller may see; NULL if the caller may see all.
READ_STATE = f"""
SELECT t.recording_id, t.status FROM transcriptions t
WHERE t.world_id = $1 AND t.id = $2 AND {seen_recording("t", "$3")}
"""


async def state_of_transcription(
    connection: Connection, world_id: int, transcription_id: str, end_user_id: str | None
) -> TranscriptionStateRow | None:
    """Recording and status of a transcription; None if the caller may not see it.

    `end_user_id`: the caller sees only recordings of this end user; None: all of the world.
    """
    return await fetch_row(
        connection, TranscriptionStateRow, READ_STATE, world_id, transcription_id, end_user_id
    )
