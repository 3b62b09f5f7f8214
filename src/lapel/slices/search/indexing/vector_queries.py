"""The SQL of the vectors: which transcript is next, its chunks, and their vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import (
    fetch_only_row,
    fetch_only_value,
    fetch_row,
    fetch_rows,
    fetch_value,
)
from lapel.slices.recordings.service import titled_recording

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from lapel.foundation.database.connection import Connection


# Characters of a recording's name that are embedded with each of its passages.
_LONGEST_NAME = 100
_MOST_WAITING = 10_000


class TranscriptDueRow(msgspec.Struct, frozen=True):
    """A transcript whose chunks lack vectors, leased to this worker.

    `stale_from`: the chunks from this place on have vectors that were made with a former name; None: none.
    """

    world_id: int
    recording_id: str
    transcription_id: str
    lease: str
    tries: int
    stale_from: int | None


class PassageRow(msgspec.Struct, frozen=True):
    """A chunk that needs a vector. `place`: in its transcript; `name`: of its recording."""

    id: str
    place: int
    chunk_text: str
    name: str | None

    @property
    def embedded_text(self) -> str:
        """The text with the name before it, which often says what the passage is about."""
        name = (self.name or "").strip()[:_LONGEST_NAME]
        return f"{name}. {self.chunk_text}" if name else self.chunk_text


class VectorsWaitingRow(msgspec.Struct, frozen=True):
    """`transcripts`: how many wait for a worker to compute vectors, 10,000 at most.

    `seconds`: for how long the oldest one waits that has no vectors yet, not even of another model.
    """

    transcripts: int
    seconds: float


# The next transcript of the world that was served longest ago. Worlds with work are found by jumps along the
# index, so one world with many transcripts is no more to read than one with few. $1: the lease, $2: how long.
CLAIM = """
WITH RECURSIVE worlds_with_work (world_id) AS (
    (SELECT s.world_id FROM search_transcripts s WHERE s.embed_at IS NOT NULL ORDER BY s.world_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT s.world_id FROM search_transcripts s WHERE s.embed_at IS NOT NULL AND s.world_id > w.world_id
        ORDER BY s.world_id LIMIT 1
    ) FROM worlds_with_work w WHERE w.world_id IS NOT NULL
), next AS (
    SELECT due.world_id, due.recording_id
    FROM worlds_with_work w
    CROSS JOIN LATERAL (
        SELECT s.world_id, s.recording_id FROM search_transcripts s
        WHERE s.world_id = w.world_id AND s.embed_at <= clock_timestamp()
        ORDER BY s.embed_at, s.recording_id LIMIT 1 FOR UPDATE SKIP LOCKED
    ) due
    ORDER BY (
        SELECT t.served_at FROM search_turns t WHERE t.world_id = w.world_id
    ) NULLS FIRST, w.world_id
    LIMIT 1
), served AS (
    INSERT INTO search_turns (world_id, served_at) SELECT world_id, clock_timestamp() FROM next
    ON CONFLICT (world_id) DO UPDATE SET served_at = excluded.served_at
)
UPDATE search_transcripts s SET lease = $1, embed_at = clock_timestamp() + $2, tries = s.tries + 1
FROM next WHERE s.world_id = next.world_id AND s.recording_id = next.recording_id
RETURNING s.world_id, s.recording_id, s.transcription_id, s.lease, s.tries, s.stale_from
"""

# $4: the model; $6: `stale_from`.
READ_LACKING = f"""
SELECT c.id, c.place, c.chunk_text, r.name FROM search_chunks c {titled_recording("c", "NULL")}
WHERE c.world_id = $1 AND c.recording_id = $2 AND c.transcription_id = $3 AND (c.place >= $6 OR NOT EXISTS (
    SELECT FROM search_vectors v
    WHERE v.world_id = c.world_id AND v.end_user_id = c.end_user_id AND v.model = $4 AND v.chunk_id = c.id))
ORDER BY c.place LIMIT $5
"""

# The chunks keep their vectors until new ones replace them. A worker that computes vectors with the former
# name loses its lease. $1, $2: the recording.
RENAME = """
UPDATE search_transcripts SET stale_from = 0, embed_at = clock_timestamp(), lease = NULL, tries = 0
WHERE world_id = $1 AND recording_id = $2 AND (embed_at IS NOT NULL OR model IS NOT NULL)
"""

# While the transcript is locked, nothing replaces or deletes its chunks.
LOCK = """
SELECT t.recording_id FROM search_transcripts t WHERE t.world_id = $1 AND t.recording_id = $2 AND t.lease = $3
FOR UPDATE
"""

# The vectors come as one value, with 384 numbers for each chunk. Those of a former name are replaced.
INSERT_VECTORS = """
INSERT INTO search_vectors (world_id, chunk_id, model, recording_id, end_user_id, recorded_at, configuration,
    meaning)
SELECT c.world_id, c.id, $3, c.recording_id, c.end_user_id, c.recorded_at, t.configuration,
    ($5::real[])[(n.place - 1) * 384 + 1:n.place * 384]::halfvec(384)
FROM unnest($4::text[]) WITH ORDINALITY AS n (id, place)
JOIN search_chunks c ON c.world_id = $1 AND c.id = n.id AND c.recording_id = $2
JOIN search_transcripts t ON t.world_id = $1 AND t.recording_id = $2
ON CONFLICT (world_id, end_user_id, model, chunk_id) DO UPDATE SET meaning = excluded.meaning
"""

# The next batch of the transcript follows when its world's turn comes again.
CONTINUE = """
UPDATE search_transcripts SET embed_at = indexed_at, lease = NULL, tries = 0,
    stale_from = CASE WHEN stale_from IS NOT NULL THEN greatest(stale_from, $3) END
WHERE world_id = $1 AND recording_id = $2
"""

FINISH = """
UPDATE search_transcripts SET has_old = has_old OR coalesce(model <> $3, false), model = $3,
    embed_at = NULL, lease = NULL, tries = 0, stale_from = NULL
WHERE world_id = $1 AND recording_id = $2
"""

PUT_BACK = """
UPDATE search_transcripts SET embed_at = clock_timestamp() + $4, lease = NULL
WHERE world_id = $1 AND recording_id = $2 AND lease = $3
"""

# Its words are found; only another model tries again.
GIVE_UP = """
UPDATE search_transcripts SET embed_at = NULL, lease = NULL, model = $4, stale_from = NULL
WHERE world_id = $1 AND recording_id = $2 AND lease = $3
"""

HAS_DUE = """
SELECT EXISTS (SELECT FROM search_transcripts s WHERE s.embed_at <= clock_timestamp())
"""

COUNT_LACKING = """
SELECT count(*) FROM search_transcripts s WHERE s.world_id = $1 AND s.embed_at IS NOT NULL
"""

# $1: the most transcripts to look at, so that it is quick however many wait. One that has vectors of another
# model is found by meaning meanwhile, so its time does not count.
WAITING = """
SELECT count(*) AS transcripts,
    coalesce(extract(epoch FROM now() - min(w.embed_at) FILTER (WHERE w.model IS NULL)), 0)::float8 AS seconds
FROM (
    SELECT s.embed_at, s.model FROM search_transcripts s
    WHERE s.embed_at IS NOT NULL AND s.embed_at <= now() LIMIT $1
) w
"""

# Two walks along the index beside the model's own entries.
_OTHER = """
(SELECT s.world_id, s.recording_id FROM search_transcripts s
    WHERE s.embed_at IS NULL AND s.model IS NOT NULL AND s.model {than} $1 LIMIT $2)"""
RENEW_MODEL = f"""
WITH old AS ({_OTHER.format(than="<")} UNION ALL {_OTHER.format(than=">")})
UPDATE search_transcripts t SET embed_at = clock_timestamp(), tries = 0
FROM old WHERE t.world_id = old.world_id AND t.recording_id = old.recording_id AND t.embed_at IS NULL
"""

# Vectors of other models, of transcripts that have all vectors of this model, $1. Processes that still have
# the other model need them, so they go only when no transcript waits any more.
FORGET_OLD = """
WITH done AS (
    SELECT s.world_id, s.recording_id FROM search_transcripts s WHERE s.has_old AND s.model = $1 LIMIT $2
), gone AS (
    DELETE FROM search_vectors v USING done d
    WHERE v.world_id = d.world_id AND v.recording_id = d.recording_id AND v.model <> $1
)
UPDATE search_transcripts t SET has_old = false FROM done d
WHERE t.world_id = d.world_id AND t.recording_id = d.recording_id AND t.model = $1
"""


async def claim(connection: Connection, lease: str, duration: timedelta) -> TranscriptDueRow | None:
    """Lease the next transcript in order; None if none is due."""
    return await fetch_row(connection, TranscriptDueRow, CLAIM, lease, duration)


async def read_lacking(
    connection: Connection, due: TranscriptDueRow, model: str, limit: int
) -> list[PassageRow]:
    """The first chunks of a transcript that have no vector of the model, or one made with a former name."""
    return await fetch_rows(
        connection,
        PassageRow,
        READ_LACKING,
        due.world_id,
        due.recording_id,
        due.transcription_id,
        model,
        limit,
        due.stale_from,
    )


async def lock(connection: Connection, due: TranscriptDueRow) -> bool:
    """Lock the transcript until the transaction ends. Whether this worker still has its lease."""
    return await fetch_value(connection, str, LOCK, due.world_id, due.recording_id, due.lease) is not None


async def insert_vectors(
    connection: Connection, due: TranscriptDueRow, model: str, ids: Sequence[str], values: Sequence[float]
) -> None:
    """Store the vectors of chunks; `values` are all their numbers, one vector after the other."""
    await connection.execute(INSERT_VECTORS, due.world_id, due.recording_id, model, list(ids), values)


async def proceed(connection: Connection, due: TranscriptDueRow, place: int) -> None:
    """Put a transcript back whose next chunks, from `place` on, wait for a turn."""
    await connection.execute(CONTINUE, due.world_id, due.recording_id, place)


async def rename(connection: Connection, world_id: int, recording_id: str) -> None:
    """Let the vectors of a recording be replaced, if it has vectors or waits for some."""
    await connection.execute(RENAME, world_id, recording_id)


async def finish(connection: Connection, due: TranscriptDueRow, model: str) -> None:
    """Store that every chunk of the transcript has a vector of the model."""
    await connection.execute(FINISH, due.world_id, due.recording_id, model)


async def put_back(connection: Connection, due: TranscriptDueRow, after: timedelta) -> None:
    """Put a transcript back until `after` has passed, if this worker still has its lease."""
    await connection.execute(PUT_BACK, due.world_id, due.recording_id, due.lease, after)


async def give_up(connection: Connection, due: TranscriptDueRow, model: str) -> None:
    """Leave a transcript without further vectors of this model."""
    await connection.execute(GIVE_UP, due.world_id, due.recording_id, due.lease, model)


async def has_due(connection: Connection) -> bool:
    """Whether any transcript waits for a turn."""
    return await fetch_only_value(connection, bool, HAS_DUE)


async def count_lacking(connection: Connection, world_id: int) -> int:
    """How many transcripts of a world lack vectors, also those at which a worker is."""
    return await fetch_only_value(connection, int, COUNT_LACKING, world_id)


async def measure_waiting(connection: Connection) -> VectorsWaitingRow:
    """How far the workers are behind with vectors, of all worlds."""
    return await fetch_only_row(connection, VectorsWaitingRow, WAITING, _MOST_WAITING)


async def renew_model(connection: Connection, model: str, limit: int) -> None:
    """Let at most twice `limit` transcripts with vectors of other models wait for vectors of this one."""
    await connection.execute(RENEW_MODEL, model, limit)


async def forget_old(connection: Connection, model: str, limit: int) -> None:
    """Delete vectors of other models, of at most `limit` transcripts that have all vectors of this model."""
    await connection.execute(FORGET_OLD, model, limit)
