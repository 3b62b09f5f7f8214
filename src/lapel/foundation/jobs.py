"""Jobs on PgQueuer: enqueued inside the caller's transaction, run by any worker.

A job may run twice (a worker killed while it ends): every handler is idempotent.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

# PgQueuer reads its schema's name when it is first used, and caches it.
os.environ.setdefault("PGQUEUER_SCHEMA", "jobs")

from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

if TYPE_CHECKING:
    from datetime import timedelta

    from lapel.foundation.database import Connection


async def enqueue(
    connection: Connection,
    entrypoint: str,
    payload: msgspec.Struct,
    *,
    dedupe: str | None = None,
    after: timedelta | None = None,
) -> None:
    """Enqueue one job in the connection's transaction; it runs once that commits.

    `dedupe` (made unique per entrypoint) drops the job when an equal one is still waiting or
    running. `after` delays it.
    """
    await Queries(AsyncpgDriver(connection)).enqueue(
        [entrypoint],
        [msgspec.json.encode(payload)],
        [0],
        [after],
        dedupe_key=[f"{entrypoint}:{dedupe}" if dedupe else None],
        on_conflict="skip",
    )
