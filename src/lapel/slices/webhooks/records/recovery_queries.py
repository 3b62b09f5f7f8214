"""SQL that gives a webhook the events that did not reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.batches import columns
from lapel.foundation.database.outbox import EVENT_ROWS, EVENTS_CHANNEL, NOT_ERASED
from lapel.foundation.database.rows import fetch_only_value, fetch_row, fetch_rows
from lapel.slices.end_users.service import present
from lapel.slices.webhooks.rows import WalkedRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.connection import Connection

# The webhook cannot be removed until the deliveries refer to it.
LOCK_ENABLED = """
SELECT events FROM webhooks WHERE world_id = $1 AND id = $2 AND status = 'enabled' FOR KEY SHARE
"""

# The events of a world that have their position, from one on, without those of deleted end users. The rows
# are locked because rows that refer to them follow. Index: events_newest, read backwards.
WALK = f"""
SELECT e.id, e.type, e.resource_id, e.position, e.created_at FROM {EVENT_ROWS}
WHERE e.world_id = $1 AND (e.created_at, e.id) > ($2, $3) AND e.test_for IS NULL AND e.position IS NOT NULL
    AND {present("e")} AND {NOT_ERASED}
ORDER BY e.created_at, e.id LIMIT $4 FOR KEY SHARE
"""

# A delivery that succeeded, or that is due anyway, stays as it is. The deliveries begin in the order of their
# events.
RECOVER = f"""
WITH missed AS (
    INSERT INTO webhook_deliveries AS d
        (world_id, id, webhook_id, event_id, resource_id, position, state, due_at, created_at)
    SELECT $1, e.id, $2, e.event_id, e.resource_id, e.position, 'pending',
        now() + make_interval(secs => e.nth * 1e-6), now()
    FROM unnest($3::text[], $4::text[], $5::text[], $6::bigint[])
        WITH ORDINALITY AS e (id, event_id, resource_id, position, nth)
    ON CONFLICT (world_id, event_id, webhook_id) DO UPDATE
        SET state = 'pending', tries = 0, due_at = excluded.due_at, ended_at = NULL
        WHERE d.state = 'failed'
    RETURNING 1
)
SELECT count(pg_notify('{EVENTS_CHANNEL}', '')) FROM missed
"""


class SubscriptionRow(msgspec.Struct, frozen=True):
    """The event types of an enabled webhook."""

    events: list[str]


async def lock_enabled(connection: Connection, world_id: int, webhook_id: str) -> list[str] | None:
    """The event types of a webhook; None when it is disabled or gone."""
    row = await fetch_row(connection, SubscriptionRow, LOCK_ENABLED, world_id, webhook_id)
    return None if row is None else row.events


async def walk(
    connection: Connection, world_id: int, after: tuple[datetime, str], limit: int
) -> list[WalkedRow]:
    """The oldest `limit` events of a world after this time and id, oldest first, without test events.

    They cannot be deleted until the transaction ends.
    """
    return await fetch_rows(connection, WalkedRow, WALK, world_id, *after, limit)


async def recover(
    connection: Connection, ids: Ids, world_id: int, webhook_id: str, events: Sequence[WalkedRow]
) -> int:
    """Make deliveries of these events due now, unless they succeeded or are due already.

    Returns the number of deliveries that are due now because of this.
    """
    rows = [(ids.new("whd"), event.id, event.resource_id, event.position) for event in events]
    return await fetch_only_value(connection, int, RECOVER, world_id, webhook_id, *columns(rows))
