"""Claims the next step in order, and starts a transcription with its first step."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.slices.transcription import events, queries
from lapel.slices.transcription.views import transcription_of
from lapel.slices.transcription.work import work_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from lapel.foundation.ports import Ports
    from lapel.slices.transcription.payloads import Lane, Stage

# A step stays with its worker for so long after the last renewal; it is renewed several times in that time.
LEASE = timedelta(seconds=6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A step leased to this worker. `starts`: how often it was started and did not end, including this time.
    `turns`: how many turns it has had. `failures`: how many tries failed."""

    world_id: int
    id: str
    recording_id: str
    media_id: str
    transcription_id: str | None
    lane: Lane
    stage: Stage
    piece: int
    engine: str | None
    failures: int
    starts: int
    turns: int
    lease: str


async def claim_next(
    ports: Ports, lane: Lane, worker: str = "", passed_over: Sequence[int] = ()
) -> Claim | None:
    """Claim the next step in order; None when there is none.

    With the first step of a transcription the event `transcription.started` is written. `worker`: name of the
    claiming worker. `passed_over`: ids of worlds that get no step. Raises Unavailable when the database is
    away.
    """
    lease = secrets.token_hex(8)
    async with ports.database.transaction() as connection:
        row = await work_queries.claim(connection, lane, lease, LEASE, worker, passed_over)
        if row is None:
            return None
        claim = _claim(row, lease)
        if claim.transcription_id is not None:
            now = ports.clock.now()
            begun = await queries.begin(connection, claim.world_id, claim.transcription_id, now)
            if begun is not None:
                shown = transcription_of(begun)
                await events.publish(connection, ports.ids, now, claim.world_id, "started", shown)
        return claim


def _claim(row: asyncpg.Record, lease: str) -> Claim:
    return Claim(
        world_id=row["world_id"],
        id=row["id"],
        recording_id=row["recording_id"],
        media_id=row["media_id"],
        transcription_id=row["transcription_id"],
        lane=row["lane"],
        stage=row["stage"],
        piece=row["piece"],
        engine=row["engine"],
        failures=row["failures"],
        starts=row["starts"],
        turns=row["turns"],
        lease=lease,
    )
