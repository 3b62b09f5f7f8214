"""Gives committed events their positions, and makes the deliveries of each event in the same transaction.

A transaction is bounded, and all worlds with events that wait share it. So a burst of one world delays the
events of the others by a few transactions, however many webhooks it has.

docs/decisions/0021 says why this is a loop of every worker and not a job for each event.
"""

from __future__ import annotations

from collections import Counter, deque
from heapq import heapify, heappop, heapreplace
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.database import outbox
from lapel.slices.webhooks.delivery import fan_out_queries
from lapel.slices.webhooks.delivery.delivery_metrics import REFUSED
from lapel.slices.webhooks.delivery.pending_bounds import PendingBounds
from lapel.slices.webhooks.wire import ALL_EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.database.outbox import PlacedRow, WaitingRow
    from lapel.foundation.ports import Ports
    from lapel.slices.webhooks.delivery.fan_out_queries import MatchRow
    from lapel.slices.webhooks.delivery.pending_bounds import WebhookKey

# The most events of one transaction, and the most worlds that share it.
MOST_EVENTS = 1000
_MOST_WORLDS = 100
# The most deliveries of one transaction. An event with more webhooks than that is placed alone.
MOST_DELIVERIES = 1000


class FanOut:
    """Places events, some at a time. It remembers which world comes first the next time."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._first_world = 0
        self._bounds = PendingBounds(ports.settings.pending_deliveries_per_world)

    async def place_some(self) -> int:
        """Place the next events and make their deliveries; returns the number of events.

        Returns 0 when no event waits that is not locked, or when another worker places events now: that
        worker looks again after its transaction, so no event is left. Raises Unavailable when the database is
        away.
        """
        first_world, placed, left_out = self._first_world, 0, set[str]()
        while True:
            behind_locked, count = await self._place_batch(left_out)
            placed += count
            if not behind_locked:
                return placed
            # Their resources may fill each batch, while the next events of the same worlds are of others.
            left_out |= behind_locked
            self._first_world = first_world

    async def _place_batch(self, left_out: set[str]) -> tuple[set[str], int]:
        """Place events, none of the resources `left_out`.

        Returns the resources with events that were locked or behind a locked one, and the number of placed
        events.
        """
        while True:
            async with self._ports.database.transaction() as connection:
                if not await outbox.lock_positions(connection):
                    return set(), 0
                batch = await self._choose(connection, left_out)
                if batch is None:
                    return set(), 0
                if self._bounds.know(batch.wanted):
                    self._first_world = batch.next_world
                    placed, refused = await self._place(connection, batch)
                    break
            # Without the lock, for which all events wait. Another worker may place these ones meanwhile.
            async with self._ports.database.acquire() as connection:
                await self._bounds.measure(connection, batch.wanted)
        crash_point("fan-out:committed")
        REFUSED.inc(refused)
        done = {row.id for row in placed}
        return {row.resource_id for row in batch.chosen if row.id not in done}, len(placed)

    async def _choose(self, connection: Connection, left_out: set[str]) -> _Batch | None:
        """The next events to place, none of the resources `left_out`; None if none waits."""
        asked = _MOST_WORLDS, MOST_EVENTS, left_out
        waiting = await outbox.waiting(connection, self._first_world, *asked)
        if not waiting and self._first_world:
            waiting = await outbox.waiting(connection, 0, *asked)
        if not waiting:
            return None
        worlds = list({row.world_id for row in waiting})
        webhooks = await fan_out_queries.count_subscribed(connection, worlds)

        def cost(row: WaitingRow) -> int:
            if row.test_for is not None:
                return 1
            return sum(webhooks.get((row.world_id, name), 0) for name in (ALL_EVENTS, row.type))

        chosen, next_world = share(waiting, cost)
        matches = await fan_out_queries.match(connection, chosen) if webhooks else []
        return _Batch(chosen, next_world, matches)

    async def _place(self, connection: Connection, batch: _Batch) -> tuple[list[PlacedRow], int]:
        """Place the events of a batch. Returns them, without those that are locked, and how many of their
        deliveries have failed because too many are pending."""
        refused = 0
        placed = await outbox.place(connection, batch.chosen)
        crash_point("fan-out:placed")
        done = {(row.world_id, row.id) for row in placed}
        matches = [match for match in batch.matches if (match.world_id, match.event_id) in done]
        if matches:
            rooms = self._bounds.take(_count(matches))
            refused = await fan_out_queries.insert_deliveries(
                connection, self._ports.ids, placed, matches, rooms
            )
        crash_point("fan-out:before-commit")
        return placed, refused


class _Batch(NamedTuple):
    """Events to place, the world that comes first in the next batch, and the webhooks that get the events."""

    chosen: list[WaitingRow]
    next_world: int
    matches: list[MatchRow]

    @property
    def wanted(self) -> Counter[WebhookKey]:
        """The deliveries of each webhook."""
        return _count(self.matches)


def _count(matches: Iterable[MatchRow]) -> Counter[WebhookKey]:
    return Counter((match.world_id, match.webhook_id) for match in matches)


def share(
    waiting: Sequence[WaitingRow], deliveries_of: Callable[[WaitingRow], int]
) -> tuple[list[WaitingRow], int]:
    """Which events one transaction places, and the world that comes first in the next transaction.

    The next event is always that of the world with the fewest deliveries so far. The first event that does
    not fit ends the batch, so that an event with many webhooks waits no longer than others.
    """
    worlds = [deque(rows) for _, rows in groupby(waiting, attrgetter("world_id"))]
    turns = [(0, nth) for nth in range(len(worlds))]
    heapify(turns)
    chosen: list[WaitingRow] = []
    left = MOST_DELIVERIES
    while turns:
        had, nth = turns[0]
        event = worlds[nth].popleft()
        deliveries = deliveries_of(event)
        if chosen and deliveries > left:
            had_turn = any(row.world_id == event.world_id for row in chosen)
            return chosen, waiting[-1].world_id + 1 if had_turn else event.world_id
        chosen.append(event)
        left -= deliveries
        if worlds[nth]:
            heapreplace(turns, (had + deliveries, nth))
        else:
            heappop(turns)
    return chosen, waiting[-1].world_id + 1
