"""Changes the status of a summary, and creates the row of its work.

No other module of the slice does this. The order: pending → processing → completed or failed. `start`,
`complete` and `fail` publish an event in the same transaction; creation publishes none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database import audit
from lapel.foundation.queue import jobs
from lapel.slices.summaries import events, queries
from lapel.slices.summaries.payloads import WORK, WorkOnSummary
from lapel.slices.summaries.views import summary_of
from lapel.slices.summaries.work import summary_work_queries

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.summaries.rows import ChangedSummaryRow
    from lapel.slices.summaries.wire import Code, Origin, Slot


async def wake(
    connection: Connection, world_id: int, summary_id: str, *, after: timedelta | None = None
) -> None:
    """Queue one job in this transaction. The job makes a worker do the next summaries, once `after` has
    passed."""
    await jobs.enqueue(connection, WORK, WorkOnSummary(world_id, summary_id), after=after)


async def begin(
    connection: Connection,
    ports: Ports,
    world_id: int,
    of: tuple[str, str],
    *,
    origin: Origin,
    template: tuple[str, int | None] | None,
    prompt: str | None,
    provider: Slot,
) -> str | None:
    """Create a pending summary with its work, and return its id.

    `of`: ids of recording and transcription. `template`: id and version. Returns None if `origin` is "auto"
    and the transcription already has an automatic summary. The caller has locked the recording.
    """
    now, summary_id = ports.clock.now(), ports.ids.new("sum")
    if not await queries.insert(
        connection,
        world_id,
        summary_id,
        of,
        now,
        origin=origin,
        template=template,
        prompt=prompt,
        provider=provider,
    ):
        return None
    await summary_work_queries.insert(connection, world_id, summary_id, of[0], now)
    await wake(connection, world_id, summary_id)
    return summary_id


async def start(connection: Connection, ports: Ports, world_id: int, summary_id: str) -> None:
    """Set a pending summary to processing, and publish the event. If it is not pending, do nothing."""
    now = ports.clock.now()
    begun = await queries.begin(connection, world_id, summary_id, now)
    if begun is not None:
        shown = summary_of(begun)
        await events.publish(connection, ports.ids, now, world_id, "started", shown, begun.end_user_id)


async def complete(
    connection: Connection, ports: Ports, world_id: int, summary_id: str, made: tuple[str, bytes, bytes]
) -> None:
    """Set a summary to completed, publish the event, and end its work. The caller has locked the recording
    and the work. `made`: model, output and warnings; the last two are JSON."""
    now = ports.clock.now()
    done = await queries.complete(connection, world_id, summary_id, made, now)
    await summary_work_queries.delete(connection, world_id, summary_id)
    if done is not None:
        await events.publish(
            connection, ports.ids, now, world_id, "completed", summary_of(done), done.end_user_id
        )
        await _record(connection, ports, now, world_id, done, "summary.completed")


async def fail(
    connection: Connection, ports: Ports, world_id: int, summary_id: str, code: Code, message: str
) -> None:
    """Set a summary to failed, publish the event, and end its work. The caller has locked the recording and
    the work."""
    now = ports.clock.now()
    failed = await queries.fail(connection, world_id, summary_id, code, message, now)
    await summary_work_queries.delete(connection, world_id, summary_id)
    if failed is not None:
        await events.publish(
            connection, ports.ids, now, world_id, "failed", summary_of(failed), failed.end_user_id
        )
        await _record(connection, ports, now, world_id, failed, "summary.failed")


async def _record(
    connection: Connection,
    ports: Ports,
    now: datetime,
    world_id: int,
    row: ChangedSummaryRow,
    action: str,
) -> None:
    """What came of a provider's work is an entry of the audit log, with the provider as the actor."""
    await audit.record_work(
        connection,
        ports.ids,
        now,
        world_id=world_id,
        provider=row.provider,
        action=action,
        resource_id=row.id,
        about=row.end_user_id,
    )
