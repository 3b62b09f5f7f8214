"""The background work of heartbeats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.queue.jobs import Schedule

if TYPE_CHECKING:
    from lapel.slices.heartbeats.service import Heartbeats


def schedules(service: Heartbeats) -> tuple[Schedule, ...]:
    """The schedules: find silent devices, delete old diagnostics."""
    return (
        Schedule(name="heartbeats.silent", expression="* * * * *", handler=service.sweep),
        Schedule(name="heartbeats.diagnostics", expression="23 * * * *", handler=service.prune_diagnostics),
    )
