"""SQL of the size of a completed transcript, which is known without reading the transcript."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_value

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

READ_SIZE = """
SELECT octet_length(t.full_text) + octet_length(t.segments)
FROM transcriptions t WHERE t.world_id = $1 AND t.id = $2 AND t.status = 'completed'
"""


async def bytes_of_transcription(connection: Connection, world_id: int, transcription_id: str) -> int | None:
    """The bytes of a completed transcription's text and segments with words; None if there is none.

    Checks no caller.
    """
    return await fetch_value(connection, int, READ_SIZE, world_id, transcription_id)
