"""SQL that writes the outcomes of attempts, and the state of the webhooks that they concern.

No statement waits for a row that another transaction has locked, so no deadlock is possible.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.batches import columns
from lapel.foundation.database.rows import fetch_row, fetch_rows
from lapel.slices.webhooks.queries import SHOWN_COLUMNS
from lapel.slices.webhooks.rows import DisabledWebhookRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection
    from lapel.slices.webhooks.delivery.delivery_outcome import DeliveryAttempt, DeliveryOutcome
    from lapel.slices.webhooks.delivery.settling.circuit import Circuit
    from lapel.slices.webhooks.wire import DisabledReason

# The last attempt of each delivery is written here, as nearly all have one. An attempt that ends after its
# delivery was ended by others still counts; a success ends every delivery.
WRITE_OUTCOMES = """
WITH locked AS MATERIALIZED (
    SELECT t.at, g.*
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::float8[], $5::int[], $6::timestamptz[], $7::int[],
            $8::int[], $9::text[], $10::bytea[])
        AS g (world_id, id, state, wait_seconds, made, started_at, latency_ms, status, error, answer)
    CROSS JOIN LATERAL (
        SELECT d.ctid AS at FROM webhook_deliveries d
        WHERE d.world_id = g.world_id AND d.id = g.id
        FOR NO KEY UPDATE SKIP LOCKED
    ) t
), written AS (
    UPDATE webhook_deliveries d SET
        attempts = d.attempts + l.made,
        leased_until = NULL,
        tries = CASE WHEN d.state = 'pending' THEN d.tries + 1 ELSE d.tries END,
        state = CASE WHEN d.state = 'pending' OR l.state = 'succeeded' THEN l.state ELSE d.state END,
        due_at = CASE WHEN d.state = 'pending' AND l.state = 'pending'
            THEN now() + make_interval(secs => l.wait_seconds) END,
        ended_at = CASE WHEN d.state = 'pending' AND l.state = 'pending' THEN NULL
            WHEN d.state = 'pending' OR l.state = 'succeeded' THEN now() ELSE d.ended_at END
    FROM locked l
    WHERE d.ctid = l.at AND d.world_id = ANY($1)
    RETURNING d.world_id, d.id, d.attempts, l.started_at, l.latency_ms, l.status, l.error, l.answer
), told AS (
    INSERT INTO webhook_attempts
        (world_id, delivery_id, number, started_at, latency_ms, status, error, answer)
    SELECT w.world_id, w.id, w.attempts, w.started_at, w.latency_ms, w.status, w.error, w.answer
    FROM written w
)
SELECT w.world_id, w.id, w.attempts FROM written w
"""

INSERT_ATTEMPTS = """
INSERT INTO webhook_attempts (world_id, delivery_id, number, started_at, latency_ms, status, error, answer)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::int[], $4::timestamptz[], $5::int[], $6::int[], $7::text[],
    $8::bytea[])
"""

STILL_THERE = """
SELECT d.world_id, d.id FROM webhook_deliveries d
WHERE d.world_id = ANY($1::bigint[]) AND d.id = ANY($2::text[])
"""

# A healthy webhook whose attempts all succeeded needs no change, if it is verified. A webhook that is locked
# is left out.
CHANGED_WEBHOOKS = """
SELECT w.world_id, w.id, w.url, w.failures, w.failing_since, w.paused_until, w.verified_at,
    now() AS at
FROM unnest($1::bigint[], $2::text[], $3::bool[]) AS g (world_id, id, failed)
JOIN webhooks w ON w.world_id = g.world_id AND w.id = g.id
WHERE w.status = 'enabled'
    AND (g.failed OR w.failures > 0 OR w.paused_until IS NOT NULL OR w.verified_at IS NULL)
"""
LOCK_WEBHOOKS = f"{CHANGED_WEBHOOKS} FOR NO KEY UPDATE OF w SKIP LOCKED"

SET_CIRCUITS = """
UPDATE webhooks w SET failures = g.failures, failing_since = g.failing_since, paused_until = g.paused_until,
    verified_at = g.verified_at
FROM unnest($1::bigint[], $2::text[], $3::int[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[])
    AS g (world_id, id, failures, failing_since, paused_until, verified_at)
WHERE w.world_id = g.world_id AND w.id = g.id
"""

DISABLE = f"""
UPDATE webhooks w SET status = 'disabled', disabled_reason = $3, paused_until = NULL, updated_at = $4
WHERE w.world_id = $1 AND w.id = $2 AND w.status = 'enabled'
RETURNING {SHOWN_COLUMNS}, (SELECT p.project_id FROM worlds p WHERE p.id = w.world_id) AS project_id
"""


class WrittenDeliveryRow(msgspec.Struct, frozen=True):
    """A delivery whose outcome is written. `attempts`: the number of its attempts now."""

    world_id: int
    id: str
    attempts: int


class DeliveryKeyRow(msgspec.Struct, frozen=True):
    """World and id of a delivery."""

    world_id: int
    id: str


class LockedWebhookRow(msgspec.Struct, frozen=True):
    """A webhook whose circuit is about to change. `at`: the database's time."""

    world_id: int
    id: str
    url: str
    failures: int
    failing_since: datetime | None
    paused_until: datetime | None
    verified_at: datetime | None
    at: datetime


async def write(connection: Connection, outcomes: Sequence[DeliveryOutcome]) -> set[tuple[int, str]]:
    """Write these outcomes, of one delivery each. Returns the deliveries (world, id) that are locked, of
    which nothing was written."""
    deliveries = [
        (o.world_id, o.delivery_id, o.state, o.wait_seconds, len(o.attempts), *_columns_of(o.attempts[-1]))
        for o in outcomes
    ]
    rows = await fetch_rows(connection, WrittenDeliveryRow, WRITE_OUTCOMES, *columns(deliveries))
    written = {(row.world_id, row.id): row.attempts for row in rows}
    earlier = [
        (*key, written[key] - len(o.attempts) + nth, *_columns_of(attempt))
        for o in outcomes
        if len(o.attempts) > 1 and (key := (o.world_id, o.delivery_id)) in written
        for nth, attempt in enumerate(o.attempts[:-1], 1)
    ]
    if earlier:
        await connection.execute(INSERT_ATTEMPTS, *columns(earlier))
    left = [key for o in outcomes if (key := (o.world_id, o.delivery_id)) not in written]
    if not left:
        return set()
    still_there = await fetch_rows(connection, DeliveryKeyRow, STILL_THERE, *columns(left))
    return {(row.world_id, row.id) for row in still_there}


async def lock_webhooks(
    connection: Connection, webhooks: Sequence[tuple[int, str, bool]]
) -> list[LockedWebhookRow]:
    """Lock those of the webhooks (world, id, whether an attempt failed) whose circuit may change."""
    return await fetch_rows(connection, LockedWebhookRow, LOCK_WEBHOOKS, *columns(webhooks))


async def locked_webhooks(
    connection: Connection, webhooks: Sequence[tuple[int, str, bool]]
) -> set[tuple[int, str]]:
    """Those of the webhooks (world, id) that `lock_webhooks` left out, although their circuit may change."""
    rows = await fetch_rows(connection, LockedWebhookRow, CHANGED_WEBHOOKS, *columns(webhooks))
    return {(row.world_id, row.id) for row in rows}


async def set_circuits(connection: Connection, circuits: Sequence[tuple[int, str, Circuit]]) -> None:
    """Store the circuits of webhooks (world, id) that the transaction holds."""
    changed = [
        (world_id, webhook_id, c.failures, c.failing_since, c.paused_until, c.verified_at)
        for world_id, webhook_id, c in circuits
    ]
    await connection.execute(SET_CIRCUITS, *columns(changed))


async def disable(
    connection: Connection, world_id: int, webhook_id: str, reason: DisabledReason, now: datetime
) -> DisabledWebhookRow | None:
    """Disable a webhook; None if it is disabled or gone already."""
    return await fetch_row(connection, DisabledWebhookRow, DISABLE, world_id, webhook_id, reason, now)


def _columns_of(attempt: DeliveryAttempt) -> tuple[object, ...]:
    return attempt.started_at, attempt.latency_ms, attempt.status, attempt.error, attempt.answer
