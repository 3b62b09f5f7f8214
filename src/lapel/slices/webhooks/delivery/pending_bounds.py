"""How many deliveries of a webhook may be pending.

A webhook whose receiver is dead must not fill the indexes in which claims look. The rows are not counted with
each event: the room of a webhook is measured, and used up in memory until it is measured again. So several
workers together may exceed the bound by what they place between two measurements.

A measurement counts up to a whole share. The fan-out makes it before the transaction in which it gives
positions, because all events of the server wait for that one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lapel.slices.webhooks.waiting_queries import measure_pending

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lapel.foundation.database.connection import Connection

# Seconds for which room counts, because other workers use it too.
_LASTS = 30.0
# Room that is used up is measured again at once. If it was less than this part of the share, it is measured
# again after so many seconds. Until then the events fail.
_SMALL = 0.1
_AGAIN_AFTER = 5.0
# Then all are forgotten and measured again.
_MOST_REMEMBERED = 10_000

WebhookKey = tuple[int, str]


@dataclass(slots=True)
class _Room:
    """What is `left` of the room that was measured at `since`; whether it was `small`, and is `used` yet."""

    left: int
    since: float
    small: bool
    used: bool = False

    def lasts(self, wanted: int, now: float) -> bool:
        """Whether it counts for so many deliveries. Unused, it does even if it is too little: otherwise the
        fan-out would measure it without an end."""
        if self.left >= wanted:
            return now < self.since + _LASTS
        return (self.small or not self.used) and now < self.since + _AGAIN_AFTER


class PendingBounds:
    """Remembers the room of webhooks. `of_world`: the most pending deliveries of a world; 0: no bound.
    `seconds`: a clock."""

    def __init__(self, of_world: int, seconds: Callable[[], float] = time.monotonic) -> None:
        self._of_world = of_world
        self._seconds = seconds
        self._rooms: dict[WebhookKey, _Room] = {}

    def know(self, wanted: Mapping[WebhookKey, int]) -> bool:
        """Whether the room for the `wanted` deliveries of each webhook is known, without a measurement."""
        return not self._of_world or not self._unknown(wanted)

    async def measure(self, connection: Connection, wanted: Mapping[WebhookKey, int]) -> None:
        """Measure what is not known of the room of these webhooks."""
        unknown = self._unknown(wanted)
        if len(self._rooms) + len(unknown) > _MOST_REMEMBERED:
            self._rooms.clear()
            unknown = list(wanted)
        rows = await measure_pending(connection, unknown, self._of_world)
        now = self._seconds()
        for row in rows:
            room = _Room(row.room, now, small=row.room < _SMALL * row.share)
            self._rooms[row.world_id, row.webhook_id] = room

    def take(self, wanted: Mapping[WebhookKey, int]) -> dict[WebhookKey, int]:
        """How many of the `wanted` deliveries of each webhook may become pending. They count from now on.

        The rooms of these webhooks are known.
        """
        if not self._of_world:
            return dict(wanted)
        taken: dict[WebhookKey, int] = {}
        for key, count in wanted.items():
            room = self._rooms[key]
            taken[key] = min(count, max(room.left, 0))
            room.left -= taken[key]
            room.used = True
        return taken

    def _unknown(self, wanted: Mapping[WebhookKey, int]) -> list[WebhookKey]:
        now = self._seconds()
        rooms = ((key, count, self._rooms.get(key)) for key, count in wanted.items())
        return [key for key, count, room in rooms if room is None or not room.lasts(count, now)]
