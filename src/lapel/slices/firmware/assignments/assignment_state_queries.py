"""The states of assignments, and every statement that changes such a state.

    assign, offer             deliver
    -------------> pending -------------> delivered
                      |                       |
                      +-----------------------+---> applied      apply
                      |                       |
                      +-----------------------+---> failed       fail, expire
                      |                       |
                      +-----------------------+---> cancelled    cancel; from pending also withdraw

    transition   from                 to          deadline   made by
    assign       (new)                pending                a request, for one device
    offer        (new)                pending                a rollout's walk, for many devices
    deliver      pending, delivered   delivered   ahead      a heartbeat that is answered with it (OFFERED)
    apply        pending, delivered   applied     ahead      a heartbeat that reports the version
    fail         pending, delivered   failed      ahead      a heartbeat that reports the failure
    expire       pending, delivered   failed      passed     the sweep, or an assignment that replaces it
    cancel       pending, delivered   cancelled   ahead      a request, or the deletion of the device
    withdraw     pending              cancelled   ahead      a rollout that is paused or halted

`applied`, `failed` and `cancelled` are final. A device has at most one assignment that is pending or
delivered: the unique index `ota_assignments_open` guarantees this. When several requests end one assignment,
its row alone decides: the first request changes the row, and the others find no open assignment.

Order of locks: the rollout's row, then devices' rows in the order of their ids, then assignments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_only_row, fetch_row, fetch_rows, fetch_values
from lapel.slices.firmware.assignments.assignment_queries import ASSIGNMENT, LATE
from lapel.slices.firmware.rows import AssignmentRow, BatchRow, EndedRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.slices.firmware.rows import LockedRolloutRow

_ENDED = f"{ASSIGNMENT}, a.status, a.error_message, f.version, f.model, w.project_id"

ASSIGN = f"""
INSERT INTO ota_assignments AS a
    (world_id, id, device_id, firmware_release_id, status, deadline_at, assigned_at)
VALUES ($1, $2, $3, $4, 'pending', $5, $6)
ON CONFLICT (world_id, device_id) WHERE status IN ('pending', 'delivered') DO NOTHING
RETURNING {ASSIGNMENT}, a.status, a.error_message
"""

# Reads the next $12 devices of the model after $8, and offers the release to the devices in the rollout's
# share. A hash of rollout and device decides the share: it is random, but it always has the same devices for
# one rollout. A device is skipped if one of these conditions holds:
# - This rollout offered the release to the device before, and the offer was not withdrawn.
# - The device has an open offer.
# - The device runs this version.
# - The update would be a downgrade that the release does not allow.
# Conditions on other tables are counts, so that PostgreSQL looks each of them up by an index.
OFFER = """
WITH page AS MATERIALIZED (
    SELECT d.id, d.firmware_version FROM devices d
    WHERE d.world_id = $1 AND d.model = $3 AND d.deleted_at IS NULL AND d.id > $8
    ORDER BY d.id LIMIT $12
), fit AS MATERIALIZED (
    SELECT p.id FROM page p
    WHERE ('x' || encode(substring(sha256(convert_to($2::text || ':' || p.id, 'UTF8')) FOR 4), 'hex')
          )::bit(32)::bigint % 100 < $4
      AND p.firmware_version IS DISTINCT FROM $5
      AND (SELECT count(*) FROM ota_assignments a
           WHERE a.world_id = $1 AND a.device_id = p.id
             AND (a.status IN ('pending', 'delivered') OR a.rollout_id = $2 AND NOT a.withdrawn)) = 0
      AND ($7 OR $6::bigint IS NULL OR (
           SELECT count(*) FROM firmware_releases runs
           WHERE runs.world_id = $1 AND runs.model = $3 AND runs.version = p.firmware_version
             AND runs.release_sequence >= $6) = 0)
), locked AS MATERIALIZED (
    SELECT d.id FROM devices d
    WHERE d.world_id = $1 AND d.id = ANY(ARRAY(SELECT id FROM fit)) AND d.deleted_at IS NULL
    ORDER BY d.id FOR KEY SHARE
), offered AS (
    INSERT INTO ota_assignments
        (world_id, id, device_id, firmware_release_id, rollout_id, status, deadline_at, assigned_at)
    SELECT $1, ($13::text[])[row_number() OVER (ORDER BY locked.id)], locked.id, $9, $2, 'pending', $10, $11
    FROM locked
    ON CONFLICT (world_id, device_id) WHERE status IN ('pending', 'delivered') DO NOTHING
    RETURNING 1
)
SELECT (SELECT count(*) FROM page) AS seen, (SELECT max(id) FROM page) AS last,
       (SELECT count(*) FROM offered) AS offered
"""

# For WITH in a heartbeat's statement, after OFFER_OF_BEAT: delivers the row of `offer`.
OFFERED = """offered AS (
UPDATE ota_assignments a SET status = 'delivered', delivered_at = coalesce(a.delivered_at, $4)
FROM offer
WHERE a.world_id = offer.world_id AND a.id = offer.assignment_id AND a.status IN ('pending', 'delivered')
RETURNING a.id
)"""

# Includes an offer that the device never fetched, because the device may have got the version in another way.
APPLY = f"""
UPDATE ota_assignments a SET status = 'applied', applied_at = $4, ended_at = $4
FROM firmware_releases f, worlds w
WHERE a.world_id = $1 AND a.device_id = $2 AND a.status IN ('pending', 'delivered') AND a.deadline_at > $4
  AND f.world_id = a.world_id AND f.id = a.firmware_release_id AND f.version = $3 AND w.id = a.world_id
RETURNING {_ENDED}
"""

FAIL = f"""
UPDATE ota_assignments a SET status = 'failed', ended_at = $5, error_message = $4
FROM firmware_releases f, worlds w
WHERE a.world_id = $1 AND a.device_id = $2 AND a.id = $3 AND a.status IN ('pending', 'delivered')
  AND a.deadline_at > $5
  AND f.world_id = a.world_id AND f.id = a.firmware_release_id AND w.id = a.world_id
RETURNING {_ENDED}
"""

# Works on all worlds. Rows that another transaction has locked are skipped.
EXPIRE = f"""
UPDATE ota_assignments a SET status = 'failed', ended_at = $1, error_message = {LATE}
FROM firmware_releases f, worlds w
WHERE (a.world_id, a.id) IN (
    SELECT due.world_id, due.id FROM ota_assignments due
    WHERE due.status IN ('pending', 'delivered') AND due.deadline_at <= $1
    ORDER BY due.deadline_at LIMIT $2 FOR UPDATE SKIP LOCKED)
  AND f.world_id = a.world_id AND f.id = a.firmware_release_id AND w.id = a.world_id
RETURNING {_ENDED}
"""

EXPIRE_OF_DEVICE = f"""
UPDATE ota_assignments a SET status = 'failed', ended_at = $3, error_message = {LATE}
FROM firmware_releases f, worlds w
WHERE a.world_id = $1 AND a.device_id = $2 AND a.status IN ('pending', 'delivered') AND a.deadline_at <= $3
  AND f.world_id = a.world_id AND f.id = a.firmware_release_id AND w.id = a.world_id
RETURNING {_ENDED}
"""

CANCEL = """
UPDATE ota_assignments SET status = 'cancelled', ended_at = $3, error_message = $4
WHERE world_id = $1 AND device_id = ANY($2::text[]) AND status IN ('pending', 'delivered')
  AND deadline_at > $3
RETURNING id
"""

# Withdraws nothing if the rollout runs, because it may have been resumed meanwhile. The rollout's row is
# locked before the assignments.
WITHDRAW = """
WITH stopped AS MATERIALIZED (
    SELECT status FROM rollouts WHERE world_id = $1 AND id = $2 AND status IN ('paused', 'halted') FOR SHARE
), locked AS MATERIALIZED (
    SELECT p.id FROM ota_assignments p
    WHERE p.world_id = $1 AND p.rollout_id = $2 AND p.status = 'pending' AND p.deadline_at > $3
      AND (SELECT count(*) FROM stopped) = 1
    ORDER BY p.id LIMIT $4 FOR UPDATE
)
UPDATE ota_assignments a SET status = 'cancelled', ended_at = $3, withdrawn = true,
    error_message = 'The rollout was ' || stopped.status || '.'
FROM stopped
WHERE a.world_id = $1 AND a.id = ANY(ARRAY(SELECT id FROM locked))
"""


async def assign(
    connection: Connection,
    world_id: int,
    assignment_id: str,
    device_id: str,
    release_id: str,
    deadline_at: datetime,
    now: datetime,
) -> AssignmentRow | None:
    """Insert an assignment. None when the device has an open assignment."""
    return await fetch_row(
        connection, AssignmentRow, ASSIGN, world_id, assignment_id, device_id, release_id, deadline_at, now
    )


async def offer(
    connection: Connection,
    rollout: LockedRolloutRow,
    deadline_at: datetime,
    now: datetime,
    assignment_ids: Sequence[str],
) -> BatchRow:
    """Read the next devices after the rollout's position, and offer the release to those that may get it.

    As many devices are read as there are `assignment_ids`.
    """
    return await fetch_only_row(
        connection,
        BatchRow,
        OFFER,
        rollout.world_id,
        rollout.id,
        rollout.model,
        rollout.percent,
        rollout.version,
        rollout.release_sequence,
        rollout.allow_downgrade,
        rollout.position,
        rollout.firmware_release_id,
        deadline_at,
        now,
        len(assignment_ids),
        assignment_ids,
    )


async def apply(
    connection: Connection, world_id: int, device_id: str, version: str, now: datetime
) -> EndedRow | None:
    """Set a device's open assignment of `version` to applied. None when there is no such assignment."""
    return await fetch_row(connection, EndedRow, APPLY, world_id, device_id, version, now)


async def fail(
    connection: Connection, world_id: int, device_id: str, assignment_id: str, why: str, now: datetime
) -> EndedRow | None:
    """Set an open assignment to failed. None when the assignment is not open."""
    return await fetch_row(connection, EndedRow, FAIL, world_id, device_id, assignment_id, why, now)


async def expire(connection: Connection, now: datetime, limit: int) -> list[EndedRow]:
    """Fail at most `limit` assignments, of all worlds, whose deadline has passed. Returns their rows."""
    return await fetch_rows(connection, EndedRow, EXPIRE, now, limit)


async def expire_of_device(
    connection: Connection, world_id: int, device_id: str, now: datetime
) -> list[EndedRow]:
    """As `expire`, for one device."""
    return await fetch_rows(connection, EndedRow, EXPIRE_OF_DEVICE, world_id, device_id, now)


async def cancel(
    connection: Connection, world_id: int, device_ids: list[str], now: datetime, why: str
) -> list[str]:
    """Cancel the open assignments of these devices. Returns the ids of the assignments."""
    return await fetch_values(connection, str, CANCEL, world_id, device_ids, now, why)


async def withdraw(connection: Connection, world_id: int, rollout_id: str, now: datetime, limit: int) -> str:
    """Withdraw at most `limit` pending offers of a paused or halted rollout. Returns the command tag."""
    return await connection.execute(WITHDRAW, world_id, rollout_id, now, limit)
