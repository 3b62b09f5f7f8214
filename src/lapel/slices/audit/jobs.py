"""The background work of the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.queue.jobs import Schedule

if TYPE_CHECKING:
    from lapel.slices.audit.chain.chaining import AuditChains


def schedules(chains: AuditChains) -> tuple[Schedule, ...]:
    """The schedule: new entries are chained each minute."""
    return (Schedule(name="audit.chain", expression="* * * * *", handler=chains.run),)
