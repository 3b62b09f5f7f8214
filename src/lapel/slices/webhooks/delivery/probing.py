"""Probes: one attempt at a time for a webhook whose circuit is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.slices.webhooks.delivery import claim_queries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.slices.webhooks.delivery.claim_queries import ClaimedRow


class Probes:
    """Claims probes, and ends the pauses of those that decide nothing."""

    def __init__(self) -> None:
        # Until when the webhooks (world, id) that this worker has probed get no other attempt.
        self._until: dict[tuple[int, str], datetime] = {}
        self._lost: set[tuple[int, str]] = set()

    async def claim(
        self,
        connection: Connection,
        webhooks: Sequence[tuple[int, str]],
        first_due: Mapping[tuple[int, str], datetime],
    ) -> list[ClaimedRow]:
        """Claim one delivery of each of these webhooks that no other worker probes, and pause the webhooks.

        A webhook is paused only together with a claim: without one, no outcome would end the pause.
        `first_due`: as for `claim_queries.claim`.
        """
        async with connection.transaction():
            locked = await claim_queries.lock_probes(connection, webhooks)
            if not locked:
                return []
            claimed = await claim_queries.claim(connection, [(*key, 1) for key in locked], first_due)
            if not claimed:
                return []
            taken = await claim_queries.take_probes(
                connection, [(row.world_id, row.webhook_id) for row in claimed]
            )
        self._until.update(taken)
        self._lost.difference_update(taken)
        return claimed

    def lost(self, world_id: int, webhook_id: str) -> None:
        """The probe of a webhook ended without an outcome."""
        self._lost.add((world_id, webhook_id))

    def decided(self, world_id: int, webhook_id: str) -> None:
        """The outcome of a webhook's probe is known."""
        self._until.pop((world_id, webhook_id), None)

    async def end_pauses(self, connection: Connection) -> None:
        """Let webhooks whose probes had no outcome be probed again. Those that are locked stay for later."""
        if not self._lost:
            return
        lost = set(self._lost)  # others may be added during the statements
        pauses = [(*key, self._until[key]) for key in lost if key in self._until]
        ended = lost - await claim_queries.end_pauses(connection, pauses)
        self._lost -= ended
        for key in ended:
            self._until.pop(key, None)
