"""SQL that ends and deletes deliveries in batches: of a webhook, of an end user, of erased events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.batches import deleting_some
from lapel.foundation.database.outbox import EVENT_ROWS
from lapel.foundation.database.rows import fetch_only_value, fetch_value, fetch_values
from lapel.slices.webhooks.waiting_queries import OF_PENDING

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection

# The lock is shared with the deliveries' references. Enabling the webhook waits for it.
LOCK_DISABLED = """
SELECT true FROM webhooks WHERE world_id = $1 AND id = $2 AND status = 'disabled' FOR SHARE
"""

# Counts the rows that were locked, and not those that were changed: a worker may have ended one of them
# meanwhile.
END_SOME = f"""
WITH locked AS MATERIALIZED (
    SELECT d.ctid FROM webhook_deliveries d
    WHERE ({OF_PENDING}) = ($1::bigint::text || $2) LIMIT $4 FOR UPDATE
), ended AS (
    UPDATE webhook_deliveries SET state = 'failed', due_at = NULL, ended_at = $3
    WHERE ctid = ANY(ARRAY(SELECT ctid FROM locked)) AND world_id = $1
)
SELECT count(*) FROM locked
"""

# In the order of an index, because PostgreSQL may otherwise read the table from its beginning for each batch,
# past all deliveries of other webhooks.
DELETE_SOME = deleting_some(
    "webhook_deliveries",
    """SELECT ctid FROM webhook_deliveries WHERE world_id = $1 AND webhook_id = $2
    ORDER BY state, created_at DESC, id DESC LIMIT $3 FOR UPDATE""",
)

# Indexes: events_of_end_user, and the unique one of a delivery's event.
DELETE_SOME_OF_END_USER = deleting_some(
    "webhook_deliveries",
    f"""SELECT d.ctid FROM {EVENT_ROWS} JOIN webhook_deliveries d
        ON d.world_id = e.world_id AND d.event_id = e.id
    WHERE e.world_id = $1 AND e.end_user_id = $2 LIMIT $3 FOR UPDATE OF d""",
)

# The caller has locked the events. A delivery that another transaction has locked is left for the next batch.
DELETE_SOME_OF_EVENTS = deleting_some(
    "webhook_deliveries",
    """SELECT ctid FROM webhook_deliveries WHERE world_id = $1 AND event_id = ANY($2::text[])
    LIMIT $3 FOR UPDATE SKIP LOCKED""",
)
WITHOUT_DELIVERIES = """
SELECT e.id FROM unnest($2::text[]) AS e (id)
WHERE NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.world_id = $1 AND d.event_id = e.id)
"""

DELETE_WEBHOOK = "DELETE FROM webhooks WHERE world_id = $1 AND id = $2 AND deleted_at IS NOT NULL"


async def lock_disabled(connection: Connection, world_id: int, webhook_id: str) -> bool:
    """Whether a webhook is disabled, or being deleted. It stays so until the transaction ends."""
    return await fetch_value(connection, bool, LOCK_DISABLED, world_id, webhook_id) is not None


async def end_some(connection: Connection, world_id: int, webhook_id: str, now: datetime, limit: int) -> int:
    """End pending deliveries as failed, `limit` at most. Returns their number, 0 when none is left."""
    return await fetch_only_value(connection, int, END_SOME, world_id, webhook_id, now, limit)


async def delete_some(connection: Connection, world_id: int, webhook_id: str, limit: int) -> int:
    """Delete deliveries, `limit` at most, with their attempts. Returns their number, 0 when none is left."""
    return await fetch_only_value(connection, int, DELETE_SOME, world_id, webhook_id, limit)


async def delete_some_of_end_user(connection: Connection, world_id: int, end_user_id: str, limit: int) -> int:
    """Delete deliveries, `limit` at most, of events about an end user. Returns their number."""
    return await fetch_only_value(connection, int, DELETE_SOME_OF_END_USER, world_id, end_user_id, limit)


async def delete_some_of_events(
    connection: Connection, world_id: int, event_ids: list[str], limit: int
) -> int:
    """Delete deliveries of locked events, `limit` at most. Returns their number."""
    return await fetch_only_value(connection, int, DELETE_SOME_OF_EVENTS, world_id, event_ids, limit)


async def without_deliveries(connection: Connection, world_id: int, event_ids: list[str]) -> list[str]:
    """Those of these events that have no deliveries."""
    return await fetch_values(connection, str, WITHOUT_DELIVERIES, world_id, event_ids)


async def delete_webhook(connection: Connection, world_id: int, webhook_id: str) -> None:
    """Delete the row of a deleted webhook."""
    await connection.execute(DELETE_WEBHOOK, world_id, webhook_id)
