"""Claims due deliveries: fairly over worlds and webhooks, and no more than this worker has places for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.crash_points import crash_point
from lapel.slices.webhooks.delivery import claim_queries
from lapel.slices.webhooks.delivery.probing import Probes
from lapel.slices.webhooks.waiting_queries import BEGINNING

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports
    from lapel.slices.webhooks.delivery.claim_queries import ClaimedRow, VisitRow
    from lapel.slices.webhooks.delivery.webhook_places import WebhookPlaces

# Webhooks of one look.
_VISITS = 1000


class Look:
    """What one look found. `probes`: webhooks whose claimed delivery decides about the others. `disabled`:
    webhooks whose pending deliveries end. `full`: whether all free places are taken. `more`: whether another
    look may claim more at once."""

    __slots__ = ("claimed", "disabled", "full", "more", "probes")

    def __init__(self) -> None:
        self.claimed: list[ClaimedRow] = []
        self.probes: set[tuple[int, str]] = set()
        self.disabled: list[tuple[int, str]] = []
        self.full = False
        self.more = False


class Claims:
    """Looks for due deliveries, some webhooks at a time. The next look goes on where the last one ended.

    `probes`: the engine tells it how the probes of this worker ended.
    """

    def __init__(self, ports: Ports, places: WebhookPlaces) -> None:
        self._ports = ports
        self._places = places
        self._after = BEGINNING
        self._given = 0
        self.probes = Probes()

    async def look(self) -> Look:
        """Claim what is due of the next webhooks. Raises Unavailable when the database is away."""
        found = Look()
        async with self._ports.database.acquire() as connection:
            await self.probes.end_pauses(connection)
            visited = await claim_queries.visit(connection, self._after, _VISITS)
            at_end = len(visited) < _VISITS
            found.disabled = [_key(row) for row in visited if row.disabled]
            due = [row for row in visited if row.due and not row.paused]
            # If there are fewer places than webhooks, others go first in the next look. A webhook whose due
            # deliveries are all under way counts as due too.
            begin = self._given % len(due) if due else 0
            ready = [_key(row) for row in (*due[begin:], *due[:begin]) if not row.broken]
            rooms = self._places.rooms(ready)
            self._given += len(rooms)
            first_due = {_key(row): row.first_due for row in due}
            if rooms:
                found.claimed = await claim_queries.claim(connection, rooms, first_due)
            claimed = len(found.claimed)
            # Probes come last: if the database goes away here, what was claimed before waits for its lease. A
            # pause would be longer.
            broken = [_key(row) for row in due if row.broken and self._places.idle(_key(row))]
            if broken:
                probes = await self.probes.claim(connection, broken, first_due)
                found.probes = {(row.world_id, row.webhook_id) for row in probes}
                found.claimed += probes
        crash_point("delivery:claimed")
        self._after = BEGINNING if at_end else _key(visited[-1])
        found.full = claimed >= sum(room for *_, room in rooms) > 0
        found.more = found.full or not at_end
        return found


def _key(row: VisitRow) -> tuple[int, str]:
    return row.world_id, row.webhook_id
