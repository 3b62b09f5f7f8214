"""Claims the next step in order, and renews its lease. The first step of a transcription starts it."""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg
import structlog

from lapel.foundation.core.errors import Unavailable
from lapel.foundation.queue.expected_faults import tell_fault
from lapel.slices.transcription import queries
from lapel.slices.transcription.work import lifecycle, work_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.pool import Database
    from lapel.foundation.ports import Ports
    from lapel.slices.transcription.payloads import Lane
    from lapel.slices.transcription.rows import ClaimRow

# Length of a lease. A worker renews its leases several times in that time.
LEASE = timedelta(seconds=6)
_RENEW_SECONDS = 1.5

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class StepProgress:
    """The progress of a step. It is written to the database when the lease is renewed."""

    def __init__(self) -> None:
        self.reached = 0.0
        self.written = 0.0

    def __call__(self, done: float) -> None:
        """Note that so much is done, 0 to 1."""
        self.reached = max(self.reached, done)


async def claim_next(
    ports: Ports, lane: Lane, worker: str = "", passed_over: Sequence[int] = ()
) -> ClaimRow | None:
    """Claim the next step in order; None when there is none.

    The claim of a transcription's first step also publishes the event `transcription.started`. `worker`: name
    of the claiming worker. `passed_over`: ids of worlds whose steps are not claimed. Raises Unavailable when
    the database is away.
    """
    lease = secrets.token_hex(8)
    async with ports.database.transaction() as connection:
        claim = await work_queries.claim(connection, lane, lease, LEASE, worker, passed_over)
        if claim is not None and claim.transcription_id is not None:
            await lifecycle.start(connection, ports, claim.world_id, claim.transcription_id)
        return claim


async def keep_lease(database: Database, claim: ClaimRow, progress: StepProgress) -> None:
    """Renew the lease and write the progress, again and again. Returns when the lease is lost."""
    while True:
        await asyncio.sleep(_RENEW_SECONDS)
        try:
            if not await _renew(database, claim, progress):
                return
        except (Unavailable, asyncpg.PostgresError) as error:  # without the database no claims are made
            tell_fault(_log, "speech.not_renewed", error, of_driver=True, work=claim.id)


async def _renew(database: Database, claim: ClaimRow, progress: StepProgress) -> bool:
    async with database.transaction() as connection:
        if not await work_queries.renew(connection, claim, LEASE):
            return False
        if claim.transcription_id is not None and progress.reached > progress.written:
            progress.written = progress.reached
            await queries.set_progress(connection, claim.world_id, claim.transcription_id, progress.written)
    return True
