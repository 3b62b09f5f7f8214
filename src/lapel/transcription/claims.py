"""Taking a step: whose turn it is, and that a transcription begins with its first one."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.transcription import events, queries, work_queries
from lapel.transcription.views import transcription_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from lapel.foundation.kit import Kit
    from lapel.transcription.payloads import Lane, Stage

# How long a step is its worker's without a sign of life; renewed several times meanwhile.
LEASE = timedelta(seconds=6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A step that is ours. `starts`: how often it was begun without an end, with this time. `turns`: how many
    turns it has had already."""

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


async def claim_next(kit: Kit, lane: Lane, worker: str = "", passed_over: Sequence[int] = ()) -> Claim | None:
    """The step whose turn it is; None when there is none. Writes `transcription.started` with the first.

    `worker`: who asks. `passed_over`: worlds that get none.
    """
    lease = secrets.token_hex(8)
    async with kit.database.transaction() as connection:
        row = await work_queries.claim(connection, lane, lease, LEASE, worker, passed_over)
        if row is None:
            return None
        claim = _claim(row, lease)
        if claim.transcription_id is not None:
            now = kit.clock.now()
            begun = await queries.begin(connection, claim.world_id, claim.transcription_id, now)
            if begun is not None:
                shown = transcription_of(begun)
                await events.publish(connection, kit.ids, now, claim.world_id, "started", shown)
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
