"""Claims the next step in order, and starts a transcription with its first step."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.slices.transcription.work import lifecycle, work_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.ports import Ports
    from lapel.slices.transcription.payloads import Lane
    from lapel.slices.transcription.rows import ClaimRow

# Length of a lease. A worker renews its leases several times in that time (runner.py).
LEASE = timedelta(seconds=6)


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
