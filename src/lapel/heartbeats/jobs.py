"""What comes round about heartbeats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.jobs import Schedule

if TYPE_CHECKING:
    from lapel.heartbeats.service import Heartbeats


def schedules(service: Heartbeats) -> tuple[Schedule, ...]:
    """Look for silent devices, and for diagnostics that are too old."""
    return (
        Schedule(name="heartbeats.silent", expression="* * * * *", handler=service.sweep),
        Schedule(name="heartbeats.diagnostics", expression="23 * * * *", handler=service.prune),
    )
