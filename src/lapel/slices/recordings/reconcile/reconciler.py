"""The reconciler completes or ends the uploads that clients and killed processes left unfinished.

Every step may run twice, even at the same time in two processes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.core.crash_points import crash_point
from lapel.slices.recordings.reconcile import reconcile_queries
from lapel.slices.recordings.reconcile.findings import Findings
from lapel.slices.recordings.reconcile.stale_uploads import Unfinished
from lapel.slices.recordings.reconcile.store_scan import Walks

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports
    from lapel.slices.erasure.service import Erasures
    from lapel.slices.recordings.uploads.completion import Completion

# Attempts stay this long after the end of their URL, because the sweep of the staging prefix reads them.
_ATTEMPTS_KEPT = timedelta(hours=48)
_BATCH = 1000


class Reconciler:
    """Runs the reconciler's work: the worker's schedules call its parts, and `run_once` runs all parts."""

    def __init__(self, ports: Ports, completion: Completion, erasures: Erasures) -> None:
        self._ports = ports
        self._completion = completion
        self._erasures = erasures

    async def run_once(self) -> dict[str, int]:
        """Finish uploads, walk over the store, run erasures. Returns the number of findings by kind.

        Raises StoreUnavailable when the store fails, and Unavailable when the database fails. The work that
        is finished by then stays.
        """
        counts = await self.run_unfinished()
        for kind, number in (await self.run_walks()).items():
            counts[kind] = counts.get(kind, 0) + number
        counts["erasures"] = await self._erasures.run_due()
        return counts

    async def run_unfinished(self) -> dict[str, int]:
        """Handle uploads without completion and lost verifications; end old media, tokens and attempts.

        Returns the number of findings by kind. Raises what `run_once` raises.
        """
        findings = Findings(self._ports)
        crash_point("reconcile:begin")
        await Unfinished(self._ports, self._completion, findings).run()
        await self._prune()
        crash_point("reconcile:end")
        return dict(findings.counts)

    async def run_walks(self) -> dict[str, int]:
        """Look for copies without rows, rows without objects, and late PUTs.

        Returns the number of findings by kind. Raises what `run_once` raises.
        """
        findings = Findings(self._ports)
        await Walks(self._ports, findings).run()
        return dict(findings.counts)

    async def _prune(self) -> None:
        now = self._ports.clock.now()
        while True:
            async with self._ports.database.transaction() as connection:
                attempts = await reconcile_queries.prune_attempts(connection, now - _ATTEMPTS_KEPT, _BATCH)
                tokens = await reconcile_queries.prune_tokens(connection, now, _BATCH)
            if attempts < _BATCH and tokens < _BATCH:
                return
