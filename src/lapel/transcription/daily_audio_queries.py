"""All SQL of the audio that a world has had transcribed in a day."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date

    from lapel.foundation.database import Connection

TAKE = """
INSERT INTO daily_audio AS d (world_id, day, milliseconds)
SELECT $1, $2, $3::bigint WHERE $3::bigint <= $4::bigint
ON CONFLICT (world_id, day) DO UPDATE SET milliseconds = d.milliseconds + excluded.milliseconds
WHERE d.milliseconds + excluded.milliseconds <= $4::bigint
RETURNING milliseconds
"""
USED = "SELECT milliseconds FROM daily_audio WHERE world_id = $1 AND day = $2"
FORGET = "DELETE FROM daily_audio WHERE world_id = $1 AND day < $2"


async def take(connection: Connection, world_id: int, day: date, milliseconds: int, most: int) -> bool:
    """Whether so many more are within the most of the day; then they are counted."""
    return await connection.fetchval(TAKE, world_id, day, milliseconds, most) is not None


async def used(connection: Connection, world_id: int, day: date) -> int:
    """Milliseconds of the day so far."""
    return await connection.fetchval(USED, world_id, day) or 0


async def forget(connection: Connection, world_id: int, day: date) -> None:
    """Days before this one."""
    await connection.execute(FORGET, world_id, day)
