"""The check of `lapel doctor` for encrypted uploads: whether accepted ones wait for their publication."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.cli.doctor.checks import Finding
from lapel.foundation.core.clock import SystemClock
from lapel.slices.encrypted_uploads.service import measure_publications

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

_PART = "publications"
_LATE = timedelta(minutes=15)


async def publications(connection: Connection) -> Finding:
    """Whether encrypted uploads that were accepted wait long for their receipts."""
    found = await measure_publications(connection, SystemClock().now())
    if found.seconds <= _LATE.total_seconds():
        return Finding(_PART, "ok", "no encrypted upload waits long for its publication")
    detail = (
        f"encrypted uploads that are accepted and not published: {found.sessions}, the oldest for "
        f"{found.seconds / 60:.0f} minutes; their devices keep their copies"
    )
    remedy = (
        "See what is said about store, worker and jobs. The log of the worker says why it did not publish "
        "them (`job.stopped`, `job.failed`). It tries again until they are published."
    )
    return Finding(_PART, "warning", detail, remedy)
