"""All SQL of the copies that providers keep until they are deleted there.

Times are the database's, because the clocks of workers may differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_rows
from lapel.slices.transcription.rows import RemoteCopyRow, UndeletedCopiesRow

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from lapel.foundation.database.connection import Connection
    from lapel.slices.providers.service import SlotChoice, SpeechEngine

# If the copy's id is stored already, the copy belongs to this step from now on.
INSERT = """
INSERT INTO remote_copies (world_id, engine, copy_id, slot, base_url, work_id, lease, available_at,
    created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp(), $8)
ON CONFLICT (world_id, engine, copy_id) DO UPDATE SET slot = excluded.slot, base_url = excluded.base_url,
    work_id = excluded.work_id, lease = excluded.lease, available_at = excluded.available_at
"""

# Claims copies whose step has ended: the step was finished or put back, another worker has taken it over, or
# it was deleted with the recording. In these cases no row of work has the lease any more. A lease that has
# only run out does not count, because its worker may still renew it. The pause grows with each failed try.
CLAIM = """
WITH due AS (
    SELECT c.world_id, c.engine, c.copy_id FROM remote_copies c
    WHERE c.available_at <= clock_timestamp() AND NOT EXISTS (
        SELECT FROM speech_work w
        WHERE w.world_id = c.world_id AND w.id = c.work_id AND w.lease = c.lease
    )
    ORDER BY c.available_at LIMIT $1 FOR UPDATE OF c SKIP LOCKED
)
UPDATE remote_copies c
SET available_at = clock_timestamp() + least(interval '1 minute' * 2 ^ least(c.failures, 10), $2),
    failures = c.failures + 1
FROM due d WHERE c.world_id = d.world_id AND c.engine = d.engine AND c.copy_id = d.copy_id
RETURNING c.world_id, c.engine, c.copy_id, c.slot, c.base_url, c.failures,
    c.created_at < clock_timestamp() - $3::interval AS is_old
"""
FAULT = "UPDATE remote_copies SET fault = $4 WHERE world_id = $1 AND engine = $2 AND copy_id = $3"
DELETE = "DELETE FROM remote_copies WHERE world_id = $1 AND engine = $2 AND copy_id = $3"
# For the operator: the copies that could not be deleted yet. `fault` belongs to the copy whose next try is
# furthest in the future.
LEFT = """
SELECT engine, count(*) AS copies, (array_agg(fault ORDER BY available_at DESC))[1] AS fault
FROM remote_copies WHERE fault IS NOT NULL GROUP BY engine ORDER BY engine
"""


async def insert(
    connection: Connection,
    world_id: int,
    choice: SlotChoice,
    copy_id: str,
    step: tuple[str, str],
    now: datetime,
) -> None:
    """Store the id of a copy that a provider keeps. `step`: id of the work that uses the copy, and its
    lease."""
    await connection.execute(
        INSERT, world_id, choice.engine, copy_id, choice.slot, choice.base_url, *step, now
    )


async def claim(
    connection: Connection, most: int, longest_pause: timedelta, old: timedelta
) -> list[RemoteCopyRow]:
    """Claim copies to delete now, at most `most`. No other worker gets the same copies for at least a minute.

    `old`: the age from which a copy counts as old. `longest_pause`: the longest time between two tries.
    """
    return await fetch_rows(connection, RemoteCopyRow, CLAIM, most, longest_pause, old)


async def put_fault(
    connection: Connection, world_id: int, engine: SpeechEngine, copy_id: str, fault: str
) -> None:
    """Store why the latest try to delete a copy failed."""
    await connection.execute(FAULT, world_id, engine, copy_id, fault)


async def delete(connection: Connection, world_id: int, engine: SpeechEngine, copy_id: str) -> None:
    """Forget a copy: it is deleted at the provider, or the tries are given up."""
    await connection.execute(DELETE, world_id, engine, copy_id)


async def left(connection: Connection) -> list[UndeletedCopiesRow]:
    """The copies of all projects that could not be deleted yet, by engine."""
    return await fetch_rows(connection, UndeletedCopiesRow, LEFT)
