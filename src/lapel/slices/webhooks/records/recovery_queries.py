"""SQL that gives a webhook the events that did not reach it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.batches import columns
from lapel.foundation.database.outbox import EVENT_ROWS, EVENTS_CHANNEL, NOT_ERASED
from lapel.foundation.database.rows import fetch_only_row, fetch_row, fetch_rows, fetch_value
from lapel.slices.end_users.service import present
from lapel.slices.webhooks.rows import WalkedRow
from lapel.slices.webhooks.waiting_queries import OF_PENDING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.connection import Connection
    from lapel.slices.webhooks.wire import RecoveryState

# The batch counts in this row, so it is locked before the deliveries.
LOCK_ENABLED = """
SELECT events FROM webhooks WHERE world_id = $1 AND id = $2 AND status = 'enabled' FOR NO KEY UPDATE
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
# events. $7: how many deliveries may become pending; those that are pending already do not count. The state
# of each delivery is looked up in a LATERAL subquery that cannot be turned into a join (OFFSET 0), so that no
# plan reads all deliveries of the webhook.
RECOVER = f"""
WITH asked AS MATERIALIZED (
    SELECT e.*, h.state, row_number() OVER (
        PARTITION BY coalesce(h.state = 'pending', false) ORDER BY e.nth) AS place
    FROM unnest($3::text[], $4::text[], $5::text[], $6::bigint[])
        WITH ORDINALITY AS e (id, event_id, resource_id, position, nth)
    LEFT JOIN LATERAL (
        SELECT d.state, d.due_at FROM webhook_deliveries d
        WHERE d.world_id = $1 AND d.event_id = e.event_id AND d.webhook_id = $2 OFFSET 0
    ) h ON true
    WHERE h.state IS NULL OR h.state = 'failed' OR h.state = 'pending' AND h.due_at > now()
), given AS MATERIALIZED (
    SELECT * FROM asked WHERE state IS NOT DISTINCT FROM 'pending' OR place <= $7::bigint
), missed AS (
    INSERT INTO webhook_deliveries AS d
        (world_id, id, webhook_id, event_id, resource_id, position, state, due_at, created_at)
    SELECT $1, g.id, $2, g.event_id, g.resource_id, g.position, 'pending',
        now() + make_interval(secs => g.nth * 1e-6), now()
    FROM given g ORDER BY g.nth
    ON CONFLICT (world_id, event_id, webhook_id) DO UPDATE
        SET state = 'pending', tries = 0, due_at = excluded.due_at, ended_at = NULL, failure = NULL
        WHERE d.state = 'failed' OR d.state = 'pending' AND d.due_at > now()
    RETURNING d.event_id
)
SELECT count(*) FILTER (WHERE g.state IS DISTINCT FROM 'pending') AS queued,
    count(*) FILTER (WHERE g.state = 'pending') AS brought_forward,
    (SELECT count(*) FROM asked) > (SELECT count(*) FROM given) AS left_some,
    count(pg_notify('{EVENTS_CHANNEL}', '')) AS told
FROM missed m JOIN given g ON g.event_id = m.event_id
"""

BEGIN_RECOVERY = """
UPDATE webhooks SET recovery_since = $3, recovery_until = $4, recovery_state = 'processing',
    recovery_queued = 0, recovery_brought_forward = 0, recovery_ended_at = NULL
WHERE world_id = $1 AND id = $2
"""
COUNT_RECOVERED = """
UPDATE webhooks SET recovery_queued = recovery_queued + $3,
    recovery_brought_forward = recovery_brought_forward + $4
WHERE world_id = $1 AND id = $2
"""
END_RECOVERY = """
UPDATE webhooks SET recovery_state = $3, recovery_ended_at = now()
WHERE world_id = $1 AND id = $2 AND recovery_state = 'processing'
"""

# A probe follows at once. While an attempt is under way, the pause stays, because a webhook whose circuit is
# open gets one attempt at a time. A probe is one of the deliveries that are due first.
RESUME = f"""
UPDATE webhooks SET paused_until = now()
WHERE world_id = $1 AND id = $2 AND paused_until > now() AND NOT EXISTS (
    SELECT FROM (
        SELECT d.leased_until FROM webhook_deliveries d
        WHERE ({OF_PENDING}) = ($1::bigint::text || $2::text) AND d.due_at <= now()
        ORDER BY d.due_at LIMIT 200
    ) f
    WHERE f.leased_until > now())
"""

WORKS = """
SELECT true FROM webhooks WHERE world_id = $1 AND id = $2 AND status = 'enabled' AND paused_until IS NULL
"""

# Those that wait for a later attempt: batches in the order of these times, each in the order of its events.
# $3 and $4: the time and the id of the last one that was moved, so that one that fails again meanwhile is not
# moved again and again. One that another transaction has locked stays as it is.
BRING_FORWARD = f"""
WITH chosen AS MATERIALIZED (
    SELECT d.ctid AS at, d.due_at, d.id, d.position FROM webhook_deliveries d
    WHERE ({OF_PENDING}) = ($1::bigint::text || $2::text) AND d.due_at > now() AND d.due_at >= $3
        AND (d.due_at, d.id) > ($3, $4)
    ORDER BY d.due_at, d.id LIMIT $5 FOR NO KEY UPDATE SKIP LOCKED
), numbered AS MATERIALIZED (
    SELECT c.*, row_number() OVER (ORDER BY c.position) AS nth FROM chosen c
), moved AS (
    UPDATE webhook_deliveries d SET due_at = now() + n.nth * interval '1 microsecond'
    FROM numbered n WHERE d.ctid = n.at AND d.world_id = $1
    RETURNING 1
)
SELECT n.due_at, n.id, (SELECT count(pg_notify('{EVENTS_CHANNEL}', '')) FROM moved) AS moved
FROM numbered n ORDER BY n.due_at DESC, n.id DESC LIMIT 1
"""


class RecoveredRow(msgspec.Struct, frozen=True):
    """What one batch did: deliveries that became pending, and pending ones that are due earlier. `left_some`:
    whether others stay as they are, because too many are pending."""

    queued: int
    brought_forward: int
    left_some: bool
    told: int


class MovedRow(msgspec.Struct, frozen=True):
    """The last delivery of a batch, with the time when it was due before; how many the batch has moved."""

    due_at: datetime
    id: str
    moved: int


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
    connection: Connection, ids: Ids, world_id: int, webhook_id: str, events: Sequence[WalkedRow], room: int
) -> RecoveredRow:
    """Make deliveries of these events due now, unless they succeeded or are due already; count them.

    `room`: the most deliveries that become pending. The transaction holds the webhook.
    """
    rows = [(ids.new("whd"), event.id, event.resource_id, event.position) for event in events]
    found = await fetch_only_row(
        connection, RecoveredRow, RECOVER, world_id, webhook_id, *columns(rows), room
    )
    if found.queued or found.brought_forward:
        await connection.execute(COUNT_RECOVERED, world_id, webhook_id, found.queued, found.brought_forward)
    return found


async def begin(
    connection: Connection, world_id: int, webhook_id: str, since: datetime, until: datetime
) -> None:
    """Show a new recovery."""
    await connection.execute(BEGIN_RECOVERY, world_id, webhook_id, since, until)


async def end(connection: Connection, world_id: int, webhook_id: str, state: RecoveryState) -> None:
    """Show that a recovery has ended."""
    await connection.execute(END_RECOVERY, world_id, webhook_id, state)


async def resume(connection: Connection, world_id: int, webhook_id: str) -> None:
    """Let a webhook whose circuit is open be probed at once, unless an attempt is under way."""
    await connection.execute(RESUME, world_id, webhook_id)


async def works(connection: Connection, world_id: int, webhook_id: str) -> bool:
    """Whether a webhook is enabled, and its circuit closed."""
    return await fetch_value(connection, bool, WORKS, world_id, webhook_id) is not None


async def bring_forward(
    connection: Connection, world_id: int, webhook_id: str, after: tuple[datetime, str], limit: int
) -> MovedRow | None:
    """Make pending deliveries due now that are due after this time and id, `limit` at most.

    Returns the last of them; None when there is none.
    """
    return await fetch_row(connection, MovedRow, BRING_FORWARD, world_id, webhook_id, *after, limit)
