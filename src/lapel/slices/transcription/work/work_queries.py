"""All SQL of the work on audio: claiming, leasing and ending steps.

Times are the database's, because the clocks of workers may differ. docs/decisions/0005 gives the reasons for
the order in which steps are claimed. Source of the search for worlds with work: "Loose indexscan" in the
PostgreSQL wiki.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_row, fetch_rows, fetch_value
from lapel.foundation.queue.death_charges import pause_after
from lapel.foundation.queue.jobs import jobs_in_queue
from lapel.slices.transcription.payloads import LANES
from lapel.slices.transcription.rows import (
    ClaimRow,
    LackingJobsRow,
    TryingStepsRow,
    WorldAndRecordingRow,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime, timedelta

    from lapel.foundation.database.connection import Connection
    from lapel.slices.providers.service import Slot, SpeechEngine
    from lapel.slices.transcription.payloads import Lane, Stage

# A second insert of the same work does nothing.
INSERT = """
INSERT INTO speech_work (world_id, id, recording_id, media_id, transcription_id, lane, stage, available_at,
    created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp(), $8)
ON CONFLICT (world_id, id) DO NOTHING
RETURNING id
"""

# Workers claim one after the other, so that each worker sees the claims made before.
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('speech.' || $1::text, 0))"

# A worker that died at a step's audio has left its lease and its charge: the step then waits for a while.
_PAUSE = pause_after("cardinality(s.charges)")
MAY_START = f"(s.lease IS NULL OR s.available_at + {_PAUSE} <= clock_timestamp())"

# First chooses a world: the world with the fewest running steps, and among equals the world that was served
# longest ago. Then chooses the oldest work of this world; in the lane `decode`, files that had no turn yet
# come before files that had one.
# $4: worlds that get no step. $5: the claiming worker. If another worker keeps the state of a step between
# two turns, the step is left to that worker for 15 seconds.
# Worlds with work are found by jumping from one world to the next in the index speech_work_line. Locked rows
# are skipped, because otherwise a large deletion would make all claims wait.
CLAIM = f"""
WITH RECURSIVE worlds_with_work (world_id) AS (
    (SELECT s.world_id FROM speech_work s WHERE s.lane = $1 ORDER BY s.world_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT s.world_id FROM speech_work s WHERE s.lane = $1 AND s.world_id > w.world_id
        ORDER BY s.world_id LIMIT 1
    ) FROM worlds_with_work w WHERE w.world_id IS NOT NULL
), next AS (
    SELECT free.world_id, free.id
    FROM worlds_with_work w
    CROSS JOIN LATERAL (
        SELECT s.world_id, s.id FROM speech_work s
        WHERE s.lane = $1 AND s.world_id = w.world_id AND s.available_at <= clock_timestamp() AND {MAY_START}
            AND (s.worker IS NULL OR s.worker = $5
                OR s.available_at <= clock_timestamp() - interval '15 seconds')
        ORDER BY (s.lane = 'decode' AND s.turns > 0), s.created_at, s.id LIMIT 1 FOR UPDATE SKIP LOCKED
    ) free
    WHERE w.world_id <> ALL($4::bigint[])
    ORDER BY (
        SELECT count(*) FROM speech_work r
        WHERE r.lane = $1 AND r.world_id = w.world_id AND r.lease IS NOT NULL
            AND r.available_at > clock_timestamp()
    ), (
        SELECT t.served_at FROM speech_turns t WHERE t.lane = $1 AND t.world_id = w.world_id
    ) NULLS FIRST, w.world_id
    LIMIT 1
), served AS (
    INSERT INTO speech_turns (lane, world_id, served_at) SELECT $1, world_id, clock_timestamp() FROM next
    ON CONFLICT (lane, world_id) DO UPDATE SET served_at = excluded.served_at
)
UPDATE speech_work s SET lease = $2, available_at = clock_timestamp() + $3, worker = NULL
FROM next WHERE s.world_id = next.world_id AND s.id = next.id AND s.available_at <= clock_timestamp()
RETURNING s.world_id, s.id, s.recording_id, s.media_id, s.transcription_id, s.lane, s.stage, s.piece,
    s.engine, s.failures, cardinality(s.charges) AS deaths, s.turns, s.lease
"""

RENEW = """
UPDATE speech_work SET available_at = clock_timestamp() + $4
WHERE world_id = $1 AND id = $2 AND lease = $3 RETURNING id
"""

# For `DeathCharges`: a child process of this worker is at the step's audio.
CHARGE = """
UPDATE speech_work SET charges = charges || $3::text
WHERE world_id = $1 AND id = $2 AND lease = $4 RETURNING cardinality(charges)
"""
# Without the lease, which may have ended.
TAKE_BACK = "UPDATE speech_work SET charges = array_remove(charges, $3) WHERE world_id = $1 AND id = $2"

# Of the given recordings, those that have a free step. $1, $2: worlds and ids of the recordings. $3: whether
# a step with a lease counts, too.
WAITING = """
SELECT DISTINCT s.world_id, s.recording_id
FROM unnest($1::bigint[], $2::text[], $3::boolean[]) AS of (world_id, recording_id, even_leased)
JOIN speech_work s ON s.world_id = of.world_id AND s.recording_id = of.recording_id
WHERE of.even_leased OR s.lease IS NULL OR s.available_at <= clock_timestamp()
"""

# The end of a step locks its row until the transaction ends. A worker without the lease changes nothing.
LOCK = "SELECT id FROM speech_work WHERE world_id = $1 AND id = $2 AND lease = $3 FOR UPDATE"

# Locks are taken in this order: recording, work, transcription.
LOCK_OF_RECORDINGS = (
    "SELECT id FROM speech_work WHERE world_id = $1 AND recording_id = ANY($2::text[]) FOR UPDATE"
)

MOVE = """
UPDATE speech_work SET lane = $4, stage = $5, piece = $6, engine = $7, lease = NULL,
    available_at = clock_timestamp(), failures = 0, charges = '{}', turns = 0, waits_for_room = false
WHERE world_id = $1 AND id = $2 AND lease = $3
"""

# $5: 1 after a failed try, else 0. $6: 1 after a turn, else 0. $7: the worker that keeps the step's state.
# $8: whether the step waits for disk space.
PUT_BACK = """
UPDATE speech_work SET lease = NULL, available_at = clock_timestamp() + $4, failures = failures + $5,
    charges = CASE $5 WHEN 0 THEN charges ELSE '{}' END, turns = turns + $6, worker = $7, waits_for_room = $8
WHERE world_id = $1 AND id = $2 AND lease = $3
RETURNING id
"""

# A transcription includes the probe, so a separate probe that is not running is not needed any more.
DROP_PROBE = """
DELETE FROM speech_work WHERE world_id = $1 AND id = $2 AND stage = 'probe'
    AND (lease IS NULL OR available_at <= clock_timestamp())
"""

DELETE = "DELETE FROM speech_work WHERE world_id = $1 AND id = $2"

# How many jobs each lane lacks: the number of free steps (counted up to a thousand) minus the number of jobs
# in the queue. Running jobs do not count, because each has its step already.
LACKING = f"""
SELECT l.lane, free.steps - {jobs_in_queue("'speech.' || l.lane")} AS lacking, free.world_id, free.id
FROM unnest($1::text[]) l (lane) CROSS JOIN LATERAL (
    SELECT count(*) AS steps, min(world_id) AS world_id, min(id) AS id FROM (
        SELECT s.world_id, s.id FROM speech_work s
        WHERE s.lane = l.lane AND s.available_at <= clock_timestamp() AND {MAY_START}
        ORDER BY s.world_id, (s.lane = 'decode' AND s.turns > 0), s.created_at, s.id LIMIT 1000
    ) waiting
) free WHERE free.steps > 0
"""

# For the operator: the steps that could not be done yet.
TRYING = """
SELECT stage, count(*) FILTER (WHERE failures > 0) AS failed,
    count(*) FILTER (WHERE waits_for_room) AS roomless
FROM speech_work WHERE failures > 0 OR waits_for_room GROUP BY stage ORDER BY stage
"""

# The model of the latest completed transcription of a slot ($2) since $3, if this transcription is among the
# newest hundred of the world.
ANSWERED = """
SELECT t.model FROM (
    SELECT n.provider, n.model, n.status, n.completed_at FROM transcriptions n
    WHERE n.world_id = $1 ORDER BY n.created_at DESC, n.id DESC LIMIT 100
) t
WHERE t.provider = $2 AND t.status = 'completed' AND t.completed_at >= $3
ORDER BY t.completed_at DESC LIMIT 1
"""


async def insert(
    connection: Connection,
    world_id: int,
    work_id: str,
    audio: tuple[str, str],
    now: datetime,
    *,
    transcription_id: str | None,
    lane: Lane,
    stage: Stage,
) -> bool:
    """Insert work; False when it exists already. `audio`: ids of recording and media."""
    inserted = await fetch_value(
        connection, str, INSERT, world_id, work_id, *audio, transcription_id, lane, stage, now
    )
    return inserted is not None


async def claim(
    connection: Connection,
    lane: Lane,
    lease: str,
    until: timedelta,
    worker: str = "",
    passed_over: Sequence[int] = (),
) -> ClaimRow | None:
    """Claim the next step in order; None when there is none. `until`: the length of the lease."""
    await connection.execute(ONE_AT_A_TIME, lane)
    return await fetch_row(connection, ClaimRow, CLAIM, lane, lease, until, list(passed_over), worker)


async def renew(connection: Connection, step: ClaimRow, until: timedelta) -> bool:
    """Renew the lease, so that it ends after the time `until`. Returns whether this worker still had it."""
    renewed = await fetch_value(connection, str, RENEW, step.world_id, step.id, step.lease, until)
    return renewed is not None


async def lock(connection: Connection, step: ClaimRow) -> bool:
    """Lock the step until the transaction ends. Returns whether this worker still has its lease."""
    return await fetch_value(connection, str, LOCK, step.world_id, step.id, step.lease) is not None


async def lock_of_recordings(connection: Connection, world_id: int, recording_ids: list[str]) -> None:
    """Lock the steps of these recordings until the transaction ends, so that no worker can end one of them.

    If a worker is ending one of these steps now, this call waits until that step has ended.
    """
    await connection.execute(LOCK_OF_RECORDINGS, world_id, recording_ids)


async def waiting(
    connection: Connection, recordings: Sequence[tuple[int, str]], even_leased: Collection[tuple[int, str]]
) -> set[tuple[int, str]]:
    """Of the given recordings, those that have a free step. Each recording is (world, id).

    `even_leased`: those of them for which a step with a lease counts, too.
    """
    worlds, ids = [world for world, _ in recordings], [each for _, each in recordings]
    leased = [each in even_leased for each in recordings]
    rows = await fetch_rows(connection, WorldAndRecordingRow, WAITING, worlds, ids, leased)
    return {(row.world_id, row.recording_id) for row in rows}


async def move(
    connection: Connection,
    step: ClaimRow,
    *,
    lane: Lane,
    stage: Stage,
    piece: int,
    engine: SpeechEngine | None,
) -> None:
    """Replace this step by the next one, which any worker may take."""
    await connection.execute(MOVE, step.world_id, step.id, step.lease, lane, stage, piece, engine)


async def put_back(
    connection: Connection,
    step: ClaimRow,
    after: timedelta,
    *,
    failed: bool,
    turn: bool = False,
    worker: str | None = None,
    waits_for_room: bool = False,
) -> bool:
    """Give up the lease. Returns whether this worker still had it. Any worker may take the step once the time
    `after` has passed; if `worker` is given, that worker has priority for 15 seconds more.

    `failed`: this try has failed. `turn`: the step has had its turn. `worker`: the worker that keeps the
    step's state. `waits_for_room`: the step waits for disk space.
    """
    place = (step.world_id, step.id, step.lease)
    given = (after, int(failed), int(turn), worker, waits_for_room)
    return await fetch_value(connection, str, PUT_BACK, *place, *given) is not None


async def delete(connection: Connection, world_id: int, work_id: str) -> None:
    """Delete work that is done."""
    await connection.execute(DELETE, world_id, work_id)


async def trying(connection: Connection) -> list[TryingStepsRow]:
    """Steps of all projects that could not be done yet, by stage."""
    return await fetch_rows(connection, TryingStepsRow, TRYING)


async def drop_probe(connection: Connection, world_id: int, media_id: str) -> None:
    """Delete the separate probe of this audio, unless it is running."""
    await connection.execute(DROP_PROBE, world_id, media_id)


async def lacking(connection: Connection) -> list[LackingJobsRow]:
    """The lanes with free steps, and how many jobs each of them lacks."""
    return await fetch_rows(connection, LackingJobsRow, LACKING, LANES)


async def model_that_answered(
    connection: Connection, world_id: int, slot: Slot, since: datetime
) -> str | None:
    """The model that transcribed last for a slot since a moment; None if it is unknown."""
    return await fetch_value(connection, str, ANSWERED, world_id, slot, since)
