"""How many deliveries of a webhook may be pending.

A webhook whose receiver is dead must not fill the indexes in which claims look. The rows are not counted with
each event: the room of a webhook is measured, and used up in memory until it is measured again. So several
workers together may exceed the bound by what they place between two measurements.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lapel.slices.webhooks.waiting_queries import measure_pending

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lapel.foundation.database.connection import Connection

# Seconds for which room counts, because other workers use it too.
_LASTS = 30.0
# Room that is used up is measured again at once. If it was less than this part of the share, it is measured
# again after so many seconds: each measurement counts up to a whole share. Until then the events fail.
_SMALL = 0.1
_AGAIN_AFTER = 5.0
# Then all are forgotten and measured again.
_MOST_REMEMBERED = 10_000

WebhookKey = tuple[int, str]


class PendingBounds:
    """Remembers the room of webhooks. `of_world`: the most pending deliveries of a world; 0: no bound.
    `seconds`: a clock."""

    def __init__(self, of_world: int, seconds: Callable[[], float] = time.monotonic) -> None:
        self._of_world = of_world
        self._seconds = seconds
        # The room that is left, when it was measured, and when it may be measured again.
        self._rooms: dict[WebhookKey, tuple[int, float, float]] = {}

    async def take(self, connection: Connection, wanted: Mapping[WebhookKey, int]) -> dict[WebhookKey, int]:
        """How many of the `wanted` deliveries of each webhook may become pending. They count from now on."""
        if not self._of_world:
            return dict(wanted)
        now = self._seconds()
        stale = [key for key, count in wanted.items() if self._is_stale(key, count, now)]
        if stale:
            if len(self._rooms) + len(stale) > _MOST_REMEMBERED:
                self._rooms.clear()
                stale = list(wanted)
            for row in await measure_pending(connection, stale, self._of_world):
                again = now + (_AGAIN_AFTER if row.room < _SMALL * row.share else 0.0)
                self._rooms[row.world_id, row.webhook_id] = row.room, now, again
        taken: dict[WebhookKey, int] = {}
        for key, count in wanted.items():
            room, since, again = self._rooms[key]
            taken[key] = min(count, max(room, 0))
            self._rooms[key] = room - taken[key], since, again
        return taken

    def _is_stale(self, key: WebhookKey, wanted: int, now: float) -> bool:
        if key not in self._rooms:
            return True
        room, since, again = self._rooms[key]
        return now >= (since + _LASTS if room >= wanted else again)
