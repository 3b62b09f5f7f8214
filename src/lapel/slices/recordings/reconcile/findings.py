"""The reconciler's findings. Each finding is logged, and counted in a table that /metrics shows."""

from __future__ import annotations

from collections import Counter as Counting
from typing import TYPE_CHECKING, Literal

import structlog

from lapel.slices.recordings.reconcile import reconcile_queries

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports

Kind = Literal[
    "upload_finished",  # an object without a completion, because its client stopped after the PUT
    "upload_refused",  # the same, and the object differs from what was declared
    "media_expired",  # no object within a day after the last URL ended
    "verification_requeued",  # a verification that takes long, or whose job was lost
    "copy_swept",  # a copy that no row serves
    "late_put_swept",  # a staged object that no completion can use
    "object_missing",  # a row whose object is not in the store
    "foreign_object",  # an object whose name is not one of Lapel's; it stays
]

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Findings:
    """The findings of one run."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._unsaved: Counting[str] = Counting()
        self.counts: Counting[str] = Counting()

    def add(self, kind: Kind, **what: str | int | None) -> None:
        """Log and count one finding. `what`: ids and keys that identify it in the log."""
        log = _log.error if kind == "object_missing" else _log.info
        log("finding", kind=kind, **what)
        self._unsaved[kind] += 1
        self.counts[kind] += 1

    async def save(self) -> None:
        """Add the findings since the last save to the table. Raises Unavailable when the database fails."""
        if not self._unsaved:
            return
        async with self._ports.database.transaction() as connection:
            await reconcile_queries.add_findings(
                connection, sorted(self._unsaved.items()), self._ports.clock.now()
            )
        self._unsaved.clear()
