"""All SQL of the audio that is transcribed for a world in a day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_value

if TYPE_CHECKING:
    from datetime import date

    from lapel.foundation.database.connection import Connection

TAKE = """
INSERT INTO daily_audio AS d (world_id, day, milliseconds)
SELECT $1, $2, $3::bigint WHERE $3::bigint <= $4::bigint
ON CONFLICT (world_id, day) DO UPDATE SET milliseconds = d.milliseconds + excluded.milliseconds
WHERE d.milliseconds + excluded.milliseconds <= $4::bigint
RETURNING milliseconds
"""
NOTE = "UPDATE speech_work SET counted_on = $3, counted_ms = $4 WHERE world_id = $1 AND id = $2"
# Only for the same day, and only if no piece was transcribed. A transcription and its work have the same id.
GIVE_BACK = """
UPDATE daily_audio d SET milliseconds = greatest(d.milliseconds - s.counted_ms, 0)
FROM speech_work s
WHERE d.world_id = $1 AND d.day = $3 AND s.world_id = $1 AND s.id = $2 AND s.counted_on = d.day
    AND NOT EXISTS (
        SELECT FROM transcription_pieces p WHERE p.world_id = $1 AND p.transcription_id = s.transcription_id
    )
"""
USED = "SELECT milliseconds FROM daily_audio WHERE world_id = $1 AND day = $2"
FORGET = "DELETE FROM daily_audio WHERE world_id = $1 AND day < $2"

# For the usage of a world ($1): the audio that was counted on a day ($2), in milliseconds.
SUM_OF_DAY = """(SELECT coalesce(sum(a.milliseconds), 0)::bigint FROM daily_audio a
    WHERE a.world_id = $1 AND a.day = $2)"""


async def take(connection: Connection, world_id: int, day: date, milliseconds: int, most: int) -> bool:
    """Count the milliseconds if the day's sum stays within `most`. Returns whether they were counted."""
    return await fetch_value(connection, int, TAKE, world_id, day, milliseconds, most) is not None


async def note(
    connection: Connection, world_id: int, transcription_id: str, day: date, milliseconds: int
) -> None:
    """Store the milliseconds that were counted for a transcription, in the row of its work."""
    await connection.execute(NOTE, world_id, transcription_id, day, milliseconds)


async def give_back(connection: Connection, world_id: int, transcription_id: str, day: date) -> None:
    """Subtract what was counted for a transcription on this day, if none of its pieces was transcribed."""
    await connection.execute(GIVE_BACK, world_id, transcription_id, day)


async def used(connection: Connection, world_id: int, day: date) -> int:
    """Milliseconds counted on the day so far."""
    return await fetch_value(connection, int, USED, world_id, day) or 0


async def forget(connection: Connection, world_id: int, day: date) -> None:
    """Delete the figures of days before this one."""
    await connection.execute(FORGET, world_id, day)
