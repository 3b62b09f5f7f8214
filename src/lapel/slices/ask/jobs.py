"""The schedule of Ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.queue.jobs import Schedule
from lapel.slices.ask.answering import answer_queries

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports


def schedules(ports: Ports) -> tuple[Schedule, ...]:
    """Deletes the rows of answers whose process died."""

    async def sweep() -> None:
        async with ports.database.acquire() as connection:
            await answer_queries.sweep(connection)

    return (Schedule(name="ask.sweep", expression="*/5 * * * *", handler=sweep),)
