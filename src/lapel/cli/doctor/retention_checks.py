"""The check of `lapel doctor` for retention: whether anything is still there that should be erased."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.cli.doctor.checks import Finding, first_worker
from lapel.cli.shared.options import counted
from lapel.slices.recordings.service import Recordings
from lapel.slices.retention.service import Retention

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports


async def retention(ports: Ports) -> Finding:
    """Whether retention is late. Raises Unavailable while the database is unavailable."""
    ruled, late = await Retention(ports, Recordings(ports)).find_late()
    if late:
        return Finding(
            "retention",
            "warning",
            f"in {counted(late, 'project mode')}, something fell due more than a day ago and is not erased, "
            "or the search for it took too long",
            "Look for retention.stuck in the log of the worker. If no worker runs: "
            f"{first_worker(ports.settings)}",
        )
    return Finding("retention", "ok", f"nothing is late; {counted(ruled, 'project mode')} with a rule")
