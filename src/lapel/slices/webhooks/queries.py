"""All SQL of webhooks. No statement here gives the row of a webhook that is being deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.outbox import EVENT_ROWS, EVENTS_CHANNEL, NOT_ERASED
from lapel.foundation.database.rows import (
    fetch_only_row,
    fetch_only_value,
    fetch_row,
    fetch_rows,
    fetch_values,
)
from lapel.slices.end_users.service import present
from lapel.slices.webhooks.rows import ResentRow, SealedRow, WalkedRow, WebhookRow, WebhookUrlRow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow

# The columns of `WebhookRow`, for a statement in which the table is called `webhooks`.
SHOWN_COLUMNS = """id, url, events, description, metadata, status, disabled_reason, verified_at, created_at,
    updated_at, recovery_since, recovery_until, recovery_state, recovery_queued, recovery_brought_forward,
    recovery_ended_at"""

LIST_URLS = "SELECT id, url FROM webhooks WHERE world_id = $1 AND deleted_at IS NULL"

# Its circuit is open from the beginning, until its first delivery has succeeded.
INSERT = f"""
INSERT INTO webhooks
    (world_id, id, url, events, description, metadata, status, sealed_secret, created_at, updated_at,
    issued_by, paused_until)
VALUES ($1, $2, $3, $4, $5, $6, 'enabled', $7, $8, $8, $9, now())
RETURNING {SHOWN_COLUMNS}
"""

READ = f"SELECT {SHOWN_COLUMNS} FROM webhooks WHERE world_id = $1 AND id = $2 AND deleted_at IS NULL"

# Deliveries refer to the row, and a fan-out may insert them meanwhile.
LOCK = f"{READ} FOR NO KEY UPDATE"

# Also waits for a fan-out that has matched events with the webhook: what it makes is pending then.
LOCK_WITH_DELIVERIES = f"{READ} FOR UPDATE"

# The row cannot be removed until deliveries refer to it.
KEEP = f"{READ} FOR KEY SHARE"

LIST = f"""
SELECT {SHOWN_COLUMNS} FROM webhooks
WHERE world_id = $1 AND (created_at, id) < ($2, $3) AND deleted_at IS NULL
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

# $9: whether attempts are counted anew, because the webhook was enabled or has another URL; $10: the key that
# did this. The receiver at another URL is not verified: the circuit is open until a delivery has succeeded.
UPDATE = f"""
UPDATE webhooks SET url = $3, events = $4, description = $5, metadata = $6, status = $7, updated_at = $8,
    disabled_reason = CASE WHEN $7 = 'enabled' THEN NULL ELSE coalesce(disabled_reason, 'request') END,
    failures = CASE WHEN $9 THEN 0 ELSE failures END,
    failing_since = CASE WHEN $9 THEN NULL ELSE failing_since END,
    paused_until = CASE WHEN NOT $9 THEN paused_until
        WHEN url <> $3 OR verified_at IS NULL THEN now() END,
    verified_at = CASE WHEN url = $3 THEN verified_at END,
    issued_by = CASE WHEN $9 THEN $10 ELSE issued_by END
WHERE world_id = $1 AND id = $2 AND deleted_at IS NULL
RETURNING {SHOWN_COLUMNS}
"""

ROTATE = f"""
UPDATE webhooks SET sealed_previous_secret = sealed_secret, sealed_secret = $3, previous_secret_until = $4,
    updated_at = $5
WHERE world_id = $1 AND id = $2 AND deleted_at IS NULL
RETURNING {SHOWN_COLUMNS}
"""

# Of all worlds. Statements that hold a webhook meanwhile are not waited for.
FORGET_SECRETS = """
UPDATE webhooks SET sealed_previous_secret = NULL, previous_secret_until = NULL WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM webhooks WHERE sealed_previous_secret IS NOT NULL AND previous_secret_until < $1
    ORDER BY previous_secret_until LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED))
"""

# In the order of their ids, so that two of these statements cannot deadlock.
DISABLE_OF_KEY = f"""
UPDATE webhooks SET status = 'disabled', disabled_reason = 'request', paused_until = NULL, updated_at = $3
WHERE world_id = $1 AND id = ANY(ARRAY(
    SELECT id FROM webhooks
    WHERE world_id = $1 AND issued_by = $2 AND status = 'enabled' AND deleted_at IS NULL
    ORDER BY id FOR NO KEY UPDATE))
RETURNING {SHOWN_COLUMNS}
"""

# The row stays until a job has deleted its deliveries. Nobody needs the rest of it.
DELETE = f"""
UPDATE webhooks SET deleted_at = $3, status = 'disabled', disabled_reason = 'request', url = '',
    description = NULL, metadata = '{{}}', sealed_secret = '', sealed_previous_secret = NULL
WHERE world_id = $1 AND id = $2 AND deleted_at IS NULL
RETURNING {SHOWN_COLUMNS}
"""


# An event of a deleted end user is not found. The row is locked because rows that refer to it follow.
FIND_PLACED = f"""
SELECT e.id, e.type, e.resource_id, e.position, e.created_at, e.end_user_id FROM {EVENT_ROWS}
WHERE e.world_id = $1 AND e.id = $2 AND e.test_for IS NULL AND e.position IS NOT NULL
    AND {present("e")} AND {NOT_ERASED}
FOR KEY SHARE
"""

# The webhooks cannot be removed until deliveries refer to them.
SUBSCRIBED = """
SELECT id FROM webhooks
WHERE world_id = $1 AND status = 'enabled' AND events && ARRAY['*', $2::text] ORDER BY id FOR KEY SHARE
"""

# Of webhooks that never had the event, and of those whose delivery has ended or is pending.
RESEND = f"""
WITH due AS (
    INSERT INTO webhook_deliveries
        (world_id, id, webhook_id, event_id, resource_id, position, state, due_at, created_at)
    SELECT $1, d.id, d.webhook_id, $4, $5, $6, 'pending', now(), now()
    FROM unnest($2::text[], $3::text[]) AS d (id, webhook_id)
    ON CONFLICT (world_id, event_id, webhook_id) DO UPDATE
        SET state = 'pending', tries = 0, due_at = now(), ended_at = NULL, failure = NULL
    RETURNING 1
)
SELECT count(pg_notify('{EVENTS_CHANNEL}', '')) FROM due
"""


# Of all worlds, for the operator, batch by batch: those behind the webhook $1, $2.
LIST_SEALED = """
SELECT world_id, id, sealed_secret, sealed_previous_secret FROM webhooks
WHERE deleted_at IS NULL AND (world_id, id) > ($1, $2) ORDER BY world_id, id LIMIT $3
"""
# Not a secret that was replaced meanwhile.
RESEAL = "UPDATE webhooks SET sealed_secret = $4 WHERE world_id = $1 AND id = $2 AND sealed_secret = $3"
RESEAL_PREVIOUS = """
UPDATE webhooks SET sealed_previous_secret = $4
WHERE world_id = $1 AND id = $2 AND sealed_previous_secret = $3
"""


async def list_urls(connection: Connection, world_id: int) -> list[WebhookUrlRow]:
    """The URLs of all webhooks of a world."""
    return await fetch_rows(connection, WebhookUrlRow, LIST_URLS, world_id)


async def insert(
    connection: Connection,
    world_id: int,
    webhook_id: str,
    url: str,
    events: list[str],
    texts: tuple[str | None, str],
    sealed_secret: bytes,
    now: datetime,
    issued_by: str,
) -> WebhookRow:
    """Add an enabled webhook. `texts`: its description, and the JSON text of its metadata."""
    values = (webhook_id, url, events, *texts, sealed_secret, now, issued_by)
    return await fetch_only_row(connection, WebhookRow, INSERT, world_id, *values)


async def read(connection: Connection, world_id: int, webhook_id: str) -> WebhookRow | None:
    """One webhook."""
    return await fetch_row(connection, WebhookRow, READ, world_id, webhook_id)


async def lock(connection: Connection, world_id: int, webhook_id: str) -> WebhookRow | None:
    """One webhook. Its row is locked until the transaction ends."""
    return await fetch_row(connection, WebhookRow, LOCK, world_id, webhook_id)


async def lock_with_deliveries(connection: Connection, world_id: int, webhook_id: str) -> WebhookRow | None:
    """As `lock`, and no transaction makes deliveries to the webhook until this one ends."""
    return await fetch_row(connection, WebhookRow, LOCK_WITH_DELIVERIES, world_id, webhook_id)


async def keep(connection: Connection, world_id: int, webhook_id: str) -> WebhookRow | None:
    """One webhook. Its row stays until the transaction ends; other columns than its key may change."""
    return await fetch_row(connection, WebhookRow, KEEP, world_id, webhook_id)


async def list_page(connection: Connection, world_id: int, asked: PageWindow) -> list[WebhookRow]:
    """Rows of one page, plus one row that tells whether more follow."""
    window = (asked.before_time, asked.before_id, asked.fetch, asked.offset)
    return await fetch_rows(connection, WebhookRow, LIST, world_id, *window)


async def update(
    connection: Connection, world_id: int, changed: WebhookRow, now: datetime, *, afresh: bool, key: str
) -> WebhookRow:
    """Store the changed columns of a locked webhook. `afresh`: forget its failures and its pause, because the
    caller's `key` has enabled it or given it another URL."""
    return await fetch_only_row(
        connection,
        WebhookRow,
        UPDATE,
        world_id,
        changed.id,
        changed.url,
        changed.events,
        changed.description,
        changed.metadata,
        changed.status,
        now,
        afresh,
        key,
    )


async def rotate(
    connection: Connection,
    world_id: int,
    webhook_id: str,
    sealed_secret: bytes,
    previous_until: datetime,
    now: datetime,
) -> WebhookRow | None:
    """Replace a webhook's secret; the former secret stays valid until `previous_until`."""
    return await fetch_row(
        connection, WebhookRow, ROTATE, world_id, webhook_id, sealed_secret, previous_until, now
    )


async def walk_sealed(connection: Connection, batch: int = 1000) -> AsyncGenerator[list[SealedRow]]:
    """The sealed secrets of all webhooks, so many in each batch."""
    after = (0, "")
    while rows := await fetch_rows(connection, SealedRow, LIST_SEALED, *after, batch):
        yield rows
        after = (rows[-1].world_id, rows[-1].id)


async def reseal(row: SealedRow, connection: Connection, sealed_secret: bytes) -> None:
    """Replace a sealed secret, unless the row has another one than `row` by now."""
    await connection.execute(RESEAL, row.world_id, row.id, row.sealed_secret, sealed_secret)


async def reseal_previous(row: SealedRow, connection: Connection, sealed_secret: bytes) -> None:
    """The same for the former secret."""
    given = (row.world_id, row.id, row.sealed_previous_secret, sealed_secret)
    await connection.execute(RESEAL_PREVIOUS, *given)


async def find_placed(connection: Connection, world_id: int, event_id: str) -> ResentRow | None:
    """An event that has its position and is no test event. It stays until the transaction ends."""
    return await fetch_row(connection, ResentRow, FIND_PLACED, world_id, event_id)


async def subscribed(connection: Connection, world_id: int, type_: str) -> list[str]:
    """The enabled webhooks that get events of a type."""
    return await fetch_values(connection, str, SUBSCRIBED, world_id, type_)


async def resend(
    connection: Connection, world_id: int, event: WalkedRow, webhooks: Sequence[tuple[str, str]]
) -> None:
    """Make a delivery of an event to each webhook due now. `webhooks`: (id of a new delivery, webhook)."""
    new_ids, webhook_ids = [each[0] for each in webhooks], [each[1] for each in webhooks]
    about = (event.id, event.resource_id, event.position)
    await fetch_only_value(connection, int, RESEND, world_id, new_ids, webhook_ids, *about)


async def disable_of_key(
    connection: Connection, world_id: int, key_id: str, now: datetime
) -> list[WebhookRow]:
    """Disable the webhooks that a key registered, gave their URL or enabled."""
    return await fetch_rows(connection, WebhookRow, DISABLE_OF_KEY, world_id, key_id, now)


async def delete(connection: Connection, world_id: int, webhook_id: str, now: datetime) -> WebhookRow | None:
    """Empty and hide a webhook. None when there is no such webhook."""
    return await fetch_row(connection, WebhookRow, DELETE, world_id, webhook_id, now)
