"""SQL of what the API shows and changes of deliveries. The statements of the worker are in `delivery/`.

No statement shows a delivery of an event about a deleted end user. A job erases these deliveries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.outbox import EVENT_ROWS, EVENTS_CHANNEL, NOT_ERASED
from lapel.foundation.database.rows import fetch_only_value, fetch_row, fetch_rows, fetch_value
from lapel.slices.end_users.service import present
from lapel.slices.webhooks.rows import DeliveryAttemptRow, WebhookDeliveryRow

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow
    from lapel.slices.webhooks.wire import DeliveryStatus

# The most attempts that the answer about one delivery shows. Each has up to 4 KiB of text, which JSON may
# lengthen sixfold, and an answer takes at most 1 MiB.
SHOWN_ATTEMPTS = 30

_SHOWN = """d.id, d.webhook_id, d.event_id, d.event_type, d.state, d.attempts, d.due_at, d.ended_at,
    d.failure, d.created_at, a.started_at, a.status, a.error"""
# OFFSET 0: each event is looked up by its key, so the deliveries stay in the order of their index.
_DELIVERIES = f"""
    SELECT v.*, e.type AS event_type FROM webhook_deliveries v CROSS JOIN LATERAL (
        SELECT e.type FROM {EVENT_ROWS}
        WHERE e.world_id = v.world_id AND e.id = v.event_id AND {present("e")} AND {NOT_ERASED}
        OFFSET 0
    ) e
    WHERE v.world_id = $1"""
_LAST_ATTEMPT = """LEFT JOIN LATERAL (
    SELECT t.started_at, t.status, t.error FROM webhook_attempts t
    WHERE t.world_id = d.world_id AND t.delivery_id = d.id ORDER BY t.number DESC LIMIT 1
) a ON true"""
_OF_STATE = _DELIVERIES + " AND v.webhook_id = $2 AND v.state = {state} AND (v.created_at, v.id) < ($3, $4)"
_ORDER = "ORDER BY created_at DESC, id DESC"
_NEWEST = f"{_ORDER} LIMIT $5 OFFSET $6"
# Each part reads the beginning of its own part of the index.
_OF_ANY_STATE = " UNION ALL ".join(
    f"({_OF_STATE.format(state=state)} {_ORDER} LIMIT $5::bigint + $6::bigint)"
    for state in ("'pending'", "'succeeded'", "'failed'")
)

# The rows of a page are chosen before anything is read about them.
LIST = f"""
SELECT {_SHOWN} FROM (SELECT * FROM ({_OF_ANY_STATE}) u {_NEWEST}) d {_LAST_ATTEMPT}
ORDER BY d.created_at DESC, d.id DESC
"""

LIST_OF_STATE = f"""
SELECT {_SHOWN} FROM ({_OF_STATE.format(state="$7")} {_NEWEST}) d {_LAST_ATTEMPT}
ORDER BY d.created_at DESC, d.id DESC
"""

# An event has one delivery to a webhook at most.
LIST_OF_EVENT = f"""
SELECT {_SHOWN} FROM ({_DELIVERIES} AND v.event_id = $7 AND v.webhook_id = $2
    AND ($8::text IS NULL OR v.state = $8) AND (v.created_at, v.id) < ($3, $4) {_NEWEST}) d {_LAST_ATTEMPT}
"""

# $3: the webhook that the path names; NULL when it names none. A deleted webhook may still have rows.
READ = f"""
SELECT {_SHOWN} FROM ({_DELIVERIES} AND v.id = $2 AND ($3::text IS NULL OR v.webhook_id = $3)) d
JOIN webhooks w ON w.world_id = d.world_id AND w.id = d.webhook_id {_LAST_ATTEMPT}
WHERE w.deleted_at IS NULL
"""

LIST_ATTEMPTS = f"""
SELECT number, started_at, latency_ms, status, error, answer FROM webhook_attempts
WHERE world_id = $1 AND delivery_id = $2 ORDER BY number DESC LIMIT {SHOWN_ATTEMPTS}
"""

# An attempt under way counts as the first of the new schedule.
REDELIVER = f"""
WITH due AS (
    UPDATE webhook_deliveries
    SET state = 'pending', tries = 0, due_at = now(), ended_at = NULL, failure = NULL
    WHERE world_id = $1 AND id = $2 RETURNING 1
)
SELECT count(pg_notify('{EVENTS_CHANNEL}', '')) FROM due
"""

FIND_END_USER = f"""
SELECT e.end_user_id FROM webhook_deliveries v
JOIN {EVENT_ROWS} ON e.world_id = v.world_id AND e.id = v.event_id
WHERE v.world_id = $1 AND v.id = $2
"""


async def list_page(
    connection: Connection,
    world_id: int,
    webhook_id: str,
    asked: PageWindow,
    status: DeliveryStatus | None,
    event_id: str | None,
) -> list[WebhookDeliveryRow]:
    """Rows of one page of a webhook's deliveries, plus one row that tells whether more follow."""
    window = (world_id, webhook_id, asked.before_time, asked.before_id, asked.fetch, asked.offset)
    if event_id is not None:
        return await fetch_rows(connection, WebhookDeliveryRow, LIST_OF_EVENT, *window, event_id, status)
    if status is None:
        return await fetch_rows(connection, WebhookDeliveryRow, LIST, *window)
    return await fetch_rows(connection, WebhookDeliveryRow, LIST_OF_STATE, *window, status)


async def read(
    connection: Connection, world_id: int, delivery_id: str, webhook_id: str | None
) -> WebhookDeliveryRow | None:
    """One delivery, of this webhook or, with None, of any."""
    return await fetch_row(connection, WebhookDeliveryRow, READ, world_id, delivery_id, webhook_id)


async def list_attempts(connection: Connection, world_id: int, delivery_id: str) -> list[DeliveryAttemptRow]:
    """The attempts of a delivery, newest first, `SHOWN_ATTEMPTS` at most."""
    return await fetch_rows(connection, DeliveryAttemptRow, LIST_ATTEMPTS, world_id, delivery_id)


async def redeliver(connection: Connection, world_id: int, delivery_id: str) -> None:
    """Make a delivery due now, with a new schedule, and wake the workers."""
    await fetch_only_value(connection, int, REDELIVER, world_id, delivery_id)


async def find_end_user(connection: Connection, world_id: int, delivery_id: str) -> str | None:
    """The end user whom the event of a delivery is about, if there is one."""
    return await fetch_value(connection, str, FIND_END_USER, world_id, delivery_id)
