"""All SQL of the work on summaries: claiming, leasing and ending it.

Times are the database's, because the clocks of workers may differ. The order is that of speech work
(docs/decisions/0005).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_row, fetch_value
from lapel.foundation.queue.death_charges import pause_after
from lapel.foundation.queue.jobs import jobs_in_queue
from lapel.slices.recordings.service import end_user_of_recording
from lapel.slices.summaries.payloads import WORK
from lapel.slices.summaries.rows import LackingSummaryJobsRow, WorkRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from lapel.foundation.database.connection import Connection

INSERT = """
INSERT INTO summary_work (world_id, id, recording_id, available_at, created_at)
VALUES ($1, $2, $3, clock_timestamp(), $4)
"""

# Workers claim one after the other, so that each worker sees the claims made before.
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('summaries.work', 0))"

# A worker that died at a summary has left its lease and its charge: the work then waits for a while.
_PAUSE = pause_after("cardinality(s.charges)")
MAY_START = f"(s.lease IS NULL OR s.available_at + {_PAUSE} <= clock_timestamp())"

# Of all worlds, because a worker serves the whole server. First chooses a world: the one with the fewest
# running summaries, and among equals the one that was served longest ago. Then chooses its oldest work.
# Worlds with work are found by a loose index scan (PostgreSQL wiki). Locked rows are skipped, because
# otherwise a large deletion would make all claims wait.
# $3: worlds that get none.
CLAIM = f"""
WITH RECURSIVE worlds_with_work (world_id) AS (
    (SELECT s.world_id FROM summary_work s ORDER BY s.world_id LIMIT 1)
    UNION ALL
    SELECT (SELECT s.world_id FROM summary_work s WHERE s.world_id > w.world_id ORDER BY s.world_id LIMIT 1)
    FROM worlds_with_work w WHERE w.world_id IS NOT NULL
), next AS (
    SELECT free.world_id, free.id
    FROM worlds_with_work w
    CROSS JOIN LATERAL (
        SELECT s.world_id, s.id FROM summary_work s
        WHERE s.world_id = w.world_id AND s.available_at <= clock_timestamp() AND {MAY_START}
        ORDER BY s.created_at, s.id LIMIT 1 FOR UPDATE SKIP LOCKED
    ) free
    WHERE w.world_id <> ALL($3::bigint[])
    ORDER BY (
        SELECT count(*) FROM summary_work r
        WHERE r.world_id = w.world_id AND r.lease IS NOT NULL AND r.available_at > clock_timestamp()
    ), (SELECT t.served_at FROM summary_turns t WHERE t.world_id = w.world_id) NULLS FIRST, w.world_id
    LIMIT 1
), served AS (
    INSERT INTO summary_turns (world_id, served_at) SELECT world_id, clock_timestamp() FROM next
    ON CONFLICT (world_id) DO UPDATE SET served_at = excluded.served_at
)
UPDATE summary_work s SET lease = $1, available_at = clock_timestamp() + $2
FROM next WHERE s.world_id = next.world_id AND s.id = next.id AND s.available_at <= clock_timestamp()
RETURNING s.world_id, s.id, s.recording_id, s.failures, cardinality(s.charges) AS deaths, s.failing_since,
    s.lease
"""

# For `DeathCharges`: this worker is at the summary.
CHARGE = """
UPDATE summary_work SET charges = charges || $3::text
WHERE world_id = $1 AND id = $2 AND lease = $4 RETURNING cardinality(charges)
"""
# Without the lease, which may have ended.
TAKE_BACK = "UPDATE summary_work SET charges = array_remove(charges, $3) WHERE world_id = $1 AND id = $2"

RENEW = """
UPDATE summary_work SET available_at = clock_timestamp() + $4
WHERE world_id = $1 AND id = $2 AND lease = $3 RETURNING id
"""

# A worker without the lease changes nothing.
LOCK = "SELECT id FROM summary_work WHERE world_id = $1 AND id = $2 AND lease = $3 FOR UPDATE"

# $5: 1 after a failed try, else 0. $6: the time of the failure. $7: whether the try finished a part: then
# the earlier failures do not count any more.
PUT_BACK = """
UPDATE summary_work SET lease = NULL, available_at = clock_timestamp() + $4,
    failures = CASE WHEN $7 THEN 0 ELSE failures END + $5,
    charges = CASE $5 WHEN 0 THEN charges ELSE '{}' END,
    failing_since = CASE WHEN $5 = 0 THEN failing_since WHEN $7 THEN $6 ELSE coalesce(failing_since, $6) END
WHERE world_id = $1 AND id = $2 AND lease = $3
RETURNING id
"""

DELETE = "DELETE FROM summary_work WHERE world_id = $1 AND id = $2"
DELETE_PARTS = "DELETE FROM summary_parts WHERE world_id = $1 AND summary_id = $2"

# Locks are taken in this order: recording, work, summary.
LOCK_OF_RECORDINGS = (
    "SELECT id FROM summary_work WHERE world_id = $1 AND recording_id = ANY($2::text[]) FOR UPDATE"
)

# A worker without the lease writes nothing.
PUT_PART = """
INSERT INTO summary_parts (world_id, summary_id, part, result)
SELECT w.world_id, w.id, $4, $5 FROM summary_work w WHERE w.world_id = $1 AND w.id = $2 AND w.lease = $3
ON CONFLICT (world_id, summary_id, part) DO UPDATE SET result = excluded.result
"""
END_USER = f"""
SELECT {end_user_of_recording("s")} FROM summaries s WHERE s.world_id = $1 AND s.id = $2
"""
READ_PART = "SELECT result FROM summary_parts WHERE world_id = $1 AND summary_id = $2 AND part = $3"

# How many jobs are lacking: the free work (counted up to a thousand) minus the jobs in the queue. Of all
# worlds, as `CLAIM`.
LACKING = f"""
SELECT free.number - {jobs_in_queue(f"'{WORK}'")} AS lacking, free.world_id, free.id FROM (
    SELECT count(*) AS number, min(world_id) AS world_id, min(id) AS id FROM (
        SELECT s.world_id, s.id FROM summary_work s
        WHERE s.available_at <= clock_timestamp() AND {MAY_START}
        ORDER BY s.world_id, s.created_at, s.id LIMIT 1000
    ) waiting
) free WHERE free.number > 0
"""


async def insert(
    connection: Connection, world_id: int, summary_id: str, recording_id: str, now: datetime
) -> None:
    """Insert the work on a new summary."""
    await connection.execute(INSERT, world_id, summary_id, recording_id, now)


async def claim(
    connection: Connection, lease: str, until: timedelta, passed_over: Sequence[int] = ()
) -> WorkRow | None:
    """Claim the next work in order; None when there is none. `until`: the length of the lease."""
    await connection.execute(ONE_AT_A_TIME)
    return await fetch_row(connection, WorkRow, CLAIM, lease, until, list(passed_over))


async def renew(connection: Connection, work: WorkRow, until: timedelta) -> bool:
    """Renew the lease, so that it ends after the time `until`. Returns whether this worker still had it."""
    return await fetch_value(connection, str, RENEW, work.world_id, work.id, work.lease, until) is not None


async def lock(connection: Connection, work: WorkRow) -> bool:
    """Lock the work until the transaction ends. Returns whether this worker still has its lease."""
    return await fetch_value(connection, str, LOCK, work.world_id, work.id, work.lease) is not None


async def put_back(
    connection: Connection,
    work: WorkRow,
    after: timedelta,
    now: datetime,
    *,
    failed: bool,
    progressed: bool = False,
) -> bool:
    """Give up the lease; any worker may take the work once the time `after` has passed. Returns whether this
    worker still had it. `failed`: this try has failed. `progressed`: it finished a part before."""
    given = (work.world_id, work.id, work.lease, after, int(failed), now, progressed)
    return await fetch_value(connection, str, PUT_BACK, *given) is not None


async def delete(connection: Connection, world_id: int, summary_id: str) -> None:
    """Delete work that is done, with the results of its parts."""
    await connection.execute(DELETE, world_id, summary_id)
    await connection.execute(DELETE_PARTS, world_id, summary_id)


async def lock_of_recordings(connection: Connection, world_id: int, recording_ids: list[str]) -> None:
    """Lock the work on summaries of these recordings until the transaction ends, so that no worker can end
    it."""
    await connection.execute(LOCK_OF_RECORDINGS, world_id, recording_ids)


async def put_part(connection: Connection, work: WorkRow, part: str, result: bytes) -> None:
    """Store what was written about a part, if this worker still has its lease."""
    await connection.execute(PUT_PART, work.world_id, work.id, work.lease, part, result)


async def read_part(connection: Connection, world_id: int, summary_id: str, part: str) -> bytes | None:
    """What was written about a part; None if nothing was."""
    return await fetch_value(connection, bytes, READ_PART, world_id, summary_id, part)


async def find_end_user(connection: Connection, world_id: int, summary_id: str) -> str | None:
    """Whose recording a summary is of; None when it is deleted."""
    return await fetch_value(connection, str, END_USER, world_id, summary_id)


async def lacking(connection: Connection) -> LackingSummaryJobsRow | None:
    """How many jobs the free work lacks; None without free work."""
    return await fetch_row(connection, LackingSummaryJobsRow, LACKING)
