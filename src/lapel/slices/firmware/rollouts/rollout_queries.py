"""All SQL of rollouts. `assignments/assignment_state_queries.py` has the SQL of their offers.

Order of locks: the rollout's row, then devices' rows in the order of their ids, then assignments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_row, fetch_rows, fetch_values
from lapel.slices.firmware.rows import CountedRow, LockedRolloutRow, OfferCountsRow, RunningRow

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow

_COLUMNS = """r.id, r.world_id, r.firmware_release_id, r.model, r.percent, r.max_failure_rate,
    r.deadline_hours, r.status, r.halt_reason, r.offered, r.walked_at, r.created_at, r.updated_at"""
# Counts of all offers of a rollout. `{now}`: the present time; an open offer counts as failed after its
# deadline.
_COUNTED = """LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE a.status = 'pending' AND a.deadline_at > {now}) AS pending,
           count(*) FILTER (WHERE a.status = 'delivered' AND a.deadline_at > {now}) AS delivered,
           count(*) FILTER (WHERE a.status = 'applied') AS applied,
           count(*) FILTER (WHERE a.status = 'failed'
               OR a.status IN ('pending', 'delivered') AND a.deadline_at <= {now}) AS failed,
           count(*) FILTER (WHERE a.status = 'cancelled') AS cancelled
    FROM ota_assignments a WHERE a.world_id = r.world_id AND a.rollout_id = r.id
) counts ON true"""
_COUNTS = "counts.pending, counts.delivered, counts.applied, counts.failed, counts.cancelled"

REPLACE = """
UPDATE rollouts SET status = 'halted', halt_reason = $4, updated_at = $3
WHERE world_id = $1 AND model = $2 AND status IN ('running', 'paused')
RETURNING id
"""

INSERT = """
INSERT INTO rollouts
    (world_id, id, firmware_release_id, model, percent, max_failure_rate, deadline_hours, status,
     created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, 'running', $8, $8)
ON CONFLICT (world_id, model) WHERE status IN ('running', 'paused') DO NOTHING
RETURNING id
"""

READ = f"""
SELECT {_COLUMNS}, {_COUNTS} FROM rollouts r {_COUNTED.format(now="$4")}
WHERE r.world_id = $1 AND r.firmware_release_id = $2 AND r.id = $3
"""

LIST = f"""
SELECT {_COLUMNS}, {_COUNTS} FROM rollouts r {_COUNTED.format(now="$7")}
WHERE r.world_id = $1 AND r.firmware_release_id = $6 AND (r.created_at, r.id) < ($2, $3)
ORDER BY r.created_at DESC, r.id DESC LIMIT $4 OFFSET $5
"""

PAUSE = """
UPDATE rollouts SET status = 'paused', updated_at = $4
WHERE world_id = $1 AND firmware_release_id = $2 AND id = $3 AND status = 'running'
RETURNING id
"""

# The walk starts from the first device again, so that withdrawn offers are made again.
RESUME = """
UPDATE rollouts SET status = 'running', position = '', offered = 0, walked_at = NULL,
    updated_at = $4
WHERE world_id = $1 AND firmware_release_id = $2 AND id = $3 AND status = 'paused'
RETURNING id
"""

# New assignments refer to the rollout's row. This lock does not block them.
LOCK = f"""
SELECT {_COLUMNS}, r.position, f.version, f.release_sequence, f.allow_downgrade
FROM rollouts r JOIN firmware_releases f ON f.world_id = r.world_id AND f.id = r.firmware_release_id
WHERE r.world_id = $1 AND r.id = $2
FOR NO KEY UPDATE OF r
"""

COUNT = f"""
SELECT {_COUNTS} FROM rollouts r {_COUNTED.format(now="$3")} WHERE r.world_id = $1 AND r.id = $2
"""

HALT = """
UPDATE rollouts SET status = 'halted', halt_reason = $3, updated_at = $4 WHERE world_id = $1 AND id = $2
"""

COMPLETE = """
UPDATE rollouts SET status = 'completed', updated_at = $3 WHERE world_id = $1 AND id = $2
"""

SAVE = """
UPDATE rollouts SET position = $3, offered = $4, walked_at = $5 WHERE world_id = $1 AND id = $2
"""

FIND_RUNNING = "SELECT world_id, id FROM rollouts WHERE status = 'running' ORDER BY world_id, id"


async def replace(connection: Connection, world_id: int, model: str, now: datetime, why: str) -> list[str]:
    """Halt the running or paused rollouts of this model. Returns their ids."""
    return await fetch_values(connection, str, REPLACE, world_id, model, now, why)


async def insert(
    connection: Connection,
    world_id: int,
    rollout_id: str,
    release_id: str,
    model: str,
    percent: int,
    max_failure_rate: float,
    deadline_hours: int,
    now: datetime,
) -> bool:
    """Insert a rollout. False when another rollout of the model is running or paused.

    `percent` is 1 to 100, and `max_failure_rate` is a fraction from 0 to 1.
    """
    return (
        await connection.fetchval(
            INSERT,
            world_id,
            rollout_id,
            release_id,
            model,
            percent,
            max_failure_rate,
            deadline_hours,
            now,
        )
        is not None
    )


async def read(
    connection: Connection, world_id: int, release_id: str, rollout_id: str, now: datetime
) -> CountedRow | None:
    """One rollout with its counts."""
    return await fetch_row(connection, CountedRow, READ, world_id, release_id, rollout_id, now)


async def list_page(
    connection: Connection, world_id: int, asked: PageWindow, release_id: str, now: datetime
) -> list[CountedRow]:
    """Rows of one page, plus one row that tells whether more follow."""
    return await fetch_rows(
        connection,
        CountedRow,
        LIST,
        world_id,
        asked.before_time,
        asked.before_id,
        asked.fetch,
        asked.offset,
        release_id,
        now,
    )


async def pause(
    connection: Connection, world_id: int, release_id: str, rollout_id: str, now: datetime
) -> bool:
    """Pause a running rollout. False when it is not running."""
    return await connection.fetchval(PAUSE, world_id, release_id, rollout_id, now) is not None


async def resume(
    connection: Connection, world_id: int, release_id: str, rollout_id: str, now: datetime
) -> bool:
    """Resume a paused rollout. False when it is not paused."""
    return await connection.fetchval(RESUME, world_id, release_id, rollout_id, now) is not None


async def lock(connection: Connection, world_id: int, rollout_id: str) -> LockedRolloutRow | None:
    """Lock a rollout until the transaction ends. Returns it with the version and sequence of its release."""
    return await fetch_row(connection, LockedRolloutRow, LOCK, world_id, rollout_id)


async def count(connection: Connection, world_id: int, rollout_id: str, now: datetime) -> OfferCountsRow:
    """The number of a rollout's offers in each state. Raises LookupError when there is no such rollout."""
    row = await fetch_row(connection, OfferCountsRow, COUNT, world_id, rollout_id, now)
    if row is None:
        raise LookupError(rollout_id)
    return row


async def halt(connection: Connection, world_id: int, rollout_id: str, why: str, now: datetime) -> None:
    """Halt a rollout finally."""
    await connection.execute(HALT, world_id, rollout_id, why, now)


async def complete(connection: Connection, world_id: int, rollout_id: str, now: datetime) -> None:
    """Set a rollout to completed."""
    await connection.execute(COMPLETE, world_id, rollout_id, now)


async def save(
    connection: Connection,
    world_id: int,
    rollout_id: str,
    position: str,
    offered: int,
    walked_at: datetime | None,
) -> None:
    """Save the walk: the last device seen, the offers in this walk, the end of the last complete walk."""
    await connection.execute(SAVE, world_id, rollout_id, position, offered, walked_at)


async def find_running(connection: Connection) -> list[RunningRow]:
    """The running rollouts of all worlds."""
    return await fetch_rows(connection, RunningRow, FIND_RUNNING)
