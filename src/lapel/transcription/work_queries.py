"""All SQL of the work on audio: whose turn it is, who has it, and until when.

By the database's own clock, since the workers' may differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.transcription.payloads import LANES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    import asyncpg

    from lapel.foundation.database import Connection
    from lapel.transcription.payloads import Lane, Stage

# A second one for the same thing is none.
INSERT = """
INSERT INTO speech_work (world_id, id, recording_id, media_id, transcription_id, lane, stage, available_at,
    created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp(), $8)
ON CONFLICT (world_id, id) DO NOTHING
RETURNING id
"""

# Those who choose do it one after the other, so that each sees what the others have chosen.
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('speech.' || $1::text, 0))"

# The world with the fewest steps under way, of these the one that was served longest ago; in it, the oldest
# work, and files that take many turns to decode after those that were not looked at yet. $4: worlds that get
# none. $5: who asks; what another worker keeps between two turns is left to that one for a while. Worlds that
# have work are found by jumping from one to the next in the index speech_work_line. Work that somebody is
# deleting is passed over: a large deletion would keep all others waiting.
CLAIM = """
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
        WHERE s.lane = $1 AND s.world_id = w.world_id AND s.available_at <= clock_timestamp()
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
UPDATE speech_work s SET lease = $2, available_at = clock_timestamp() + $3, starts = s.starts + 1,
    worker = NULL
FROM next WHERE s.world_id = next.world_id AND s.id = next.id AND s.available_at <= clock_timestamp()
RETURNING s.world_id, s.id, s.recording_id, s.media_id, s.transcription_id, s.lane, s.stage, s.piece,
    s.engine, s.failures, s.starts, s.turns
"""

RENEW = """
UPDATE speech_work SET available_at = clock_timestamp() + $4
WHERE world_id = $1 AND id = $2 AND lease = $3 RETURNING id
"""

# Of these recordings those with a step that is free, for any worker. $1, $2: world and recording of each.
WAITING = """
SELECT DISTINCT s.world_id, s.recording_id
FROM unnest($1::bigint[], $2::text[]) AS of (world_id, recording_id)
JOIN speech_work s ON s.world_id = of.world_id AND s.recording_id = of.recording_id
WHERE s.lease IS NULL OR s.available_at <= clock_timestamp()
"""

# Whoever ends a step holds its row to the end of the transaction; who has lost it changes nothing.
HOLD = "SELECT id FROM speech_work WHERE world_id = $1 AND id = $2 AND lease = $3 FOR UPDATE"

# Locks are taken in this order: recording, work, transcription.
HOLD_OF_RECORDINGS = (
    "SELECT id FROM speech_work WHERE world_id = $1 AND recording_id = ANY($2::text[]) FOR UPDATE"
)

MOVE = """
UPDATE speech_work SET lane = $4, stage = $5, piece = $6, engine = $7, lease = NULL,
    available_at = clock_timestamp(), failures = 0, starts = 0, turns = 0, waits_for_room = false
WHERE world_id = $1 AND id = $2 AND lease = $3
"""

# $5: 1 for a try that failed; a step that was only put down has neither failed nor been started. $6: 1 for a
# step that has had its turn, $7: the worker that keeps what was done in it. $8: it found no room on a disk.
PUT_BACK = """
UPDATE speech_work SET lease = NULL, available_at = clock_timestamp() + $4, failures = failures + $5,
    starts = CASE $5 WHEN 0 THEN greatest(starts - 1, 0) ELSE 0 END, turns = turns + $6,
    worker = $7, waits_for_room = $8
WHERE world_id = $1 AND id = $2 AND lease = $3
RETURNING id
"""

# A transcription looks at the audio itself: a probe that nobody is at would do it twice.
DROP_PROBE = """
DELETE FROM speech_work WHERE world_id = $1 AND id = $2 AND stage = 'probe'
    AND (lease IS NULL OR available_at <= clock_timestamp())
"""

DELETE = "DELETE FROM speech_work WHERE world_id = $1 AND id = $2"

# How many jobs each lane lacks: steps that are free, a thousand at most, less the jobs that will wake
# somebody for them (one that is being done has its step already).
LACKING = """
SELECT l.lane, free.steps - (
    SELECT count(*) FROM jobs.pgqueuer j
    WHERE j.entrypoint = 'speech.' || l.lane AND j.status = 'queued' AND j.execute_after <= now()
) AS lacking, free.world_id, free.id
FROM unnest($1::text[]) l (lane) CROSS JOIN LATERAL (
    SELECT count(*) AS steps, min(world_id) AS world_id, min(id) AS id FROM (
        SELECT s.world_id, s.id FROM speech_work s
        WHERE s.lane = l.lane AND s.available_at <= clock_timestamp()
        ORDER BY s.world_id, (s.lane = 'decode' AND s.turns > 0), s.created_at, s.id LIMIT 1000
    ) waiting
) free WHERE free.steps > 0
"""

# For the operator: what could not be done yet.
TRYING = """
SELECT stage, count(*) FILTER (WHERE failures > 0) AS failed,
    count(*) FILTER (WHERE waits_for_room) AS roomless
FROM speech_work WHERE failures > 0 OR waits_for_room GROUP BY stage ORDER BY stage
"""


async def insert(
    connection: Connection,
    world_id: int,
    work_id: str,
    audio: tuple[str, str],
    transcription_id: str | None,
    lane: Lane,
    stage: Stage,
    now: object,
) -> bool:
    """Whether it was written: nobody is at it yet. `audio`: recording and media."""
    inserted = await connection.fetchval(
        INSERT, world_id, work_id, *audio, transcription_id, lane, stage, now
    )
    return inserted is not None


async def claim(
    connection: Connection,
    lane: Lane,
    lease: str,
    until: timedelta,
    worker: str = "",
    passed_over: Sequence[int] = (),
) -> asyncpg.Record | None:
    """The step whose turn it is, ours from now on; None when there is none."""
    await connection.execute(ONE_AT_A_TIME, lane)
    return await connection.fetchrow(CLAIM, lane, lease, until, list(passed_over), worker)


async def renew(connection: Connection, world_id: int, work_id: str, lease: str, until: timedelta) -> bool:
    """Whether the step is still ours; if so, for longer."""
    return await connection.fetchval(RENEW, world_id, work_id, lease, until) is not None


async def hold(connection: Connection, world_id: int, work_id: str, lease: str) -> bool:
    """Whether the step is still ours; if so, to the end of the transaction."""
    return await connection.fetchval(HOLD, world_id, work_id, lease) is not None


async def hold_of_recordings(connection: Connection, world_id: int, recording_ids: list[str]) -> None:
    """Wait for whoever is just ending a step on one of these recordings; nobody else will."""
    await connection.execute(HOLD_OF_RECORDINGS, world_id, recording_ids)


async def waiting(connection: Connection, recordings: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
    """(world, recording) of those with a step that nobody is at."""
    worlds, ids = [world for world, _ in recordings], [each for _, each in recordings]
    rows = await connection.fetch(WAITING, worlds, ids)
    return {(row["world_id"], row["recording_id"]) for row in rows}


async def move(
    connection: Connection,
    world_id: int,
    work_id: str,
    lease: str,
    lane: Lane,
    stage: Stage,
    piece: int,
    engine: str | None,
) -> None:
    """To the next step, for whoever comes."""
    await connection.execute(MOVE, world_id, work_id, lease, lane, stage, piece, engine)


async def put_back(
    connection: Connection,
    world_id: int,
    work_id: str,
    lease: str,
    after: timedelta,
    *,
    failed: bool,
    turn: bool = False,
    worker: str | None = None,
    waits_for_room: bool = False,
) -> bool:
    """Whether the step was ours; any worker may take it after that time. `turn`: it has had its turn.
    `worker`: who keeps what was done. `waits_for_room`: a disk is full."""
    put_back = await connection.fetchval(
        PUT_BACK, world_id, work_id, lease, after, int(failed), int(turn), worker, waits_for_room
    )
    return put_back is not None


async def delete(connection: Connection, world_id: int, work_id: str) -> None:
    """It is done."""
    await connection.execute(DELETE, world_id, work_id)


async def trying(connection: Connection) -> list[asyncpg.Record]:
    """(`stage`, `failed`, `roomless`): how many steps of all projects have failed and wait for another try,
    and how many wait for room on a disk."""
    return await connection.fetch(TRYING)


async def drop_probe(connection: Connection, world_id: int, media_id: str) -> None:
    """A probe of this audio alone that nobody is at is not needed."""
    await connection.execute(DROP_PROBE, world_id, media_id)


async def lacking(connection: Connection) -> list[asyncpg.Record]:
    """Per lane with free steps: how many jobs are missing, and a step to name in them."""
    return await connection.fetch(LACKING, LANES)
