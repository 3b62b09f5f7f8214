"""SQL that finds the webhooks with due deliveries, and claims, renews and releases deliveries.

All times are the database's, so the clocks of workers may differ. No statement waits for a row that another
transaction has locked: it leaves that row out, so no deadlock is possible.

The numbers of rows change too quickly for the planner's statistics. So each row is looked up in a LATERAL
subquery that cannot be turned into a join (OFFSET 0, FOR UPDATE), and locked rows are updated by their ctid:
no plan reads all pending deliveries, or compares all rows of one table with all of another. Pending
deliveries are found by expressions (`OF_PENDING`, `_OF_NEW`), so that each look-up can use one index only.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.batches import columns
from lapel.foundation.database.outbox import EVENT_ROWS, NOT_ERASED
from lapel.foundation.database.rows import fetch_rows, fetch_value
from lapel.slices.end_users.service import present
from lapel.slices.webhooks.waiting_queries import OF_PENDING, VISITED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lapel.foundation.database.connection import Connection

# A delivery of a killed worker is taken over after this time. A worker renews its leases before that.
LEASE = timedelta(seconds=10)
# Until a probe ends, the webhook gets no other attempt. An attempt may be two requests, if the first is
# answered 401.
PROBE = timedelta(seconds=75)
# To find the next deliveries of a webhook, a claim looks at this many that are due first. If they are of few
# resources, it then looks at this many resources.
_WINDOW = 200
# Larger bodies are read one by one, see `attempts.py`.
SMALL_BODY_BYTES = 32 * 1024

# The webhook of a pending delivery `d` that was never attempted: the first column of the index
# webhook_deliveries_first.
_OF_NEW = "CASE WHEN d.state = 'pending' AND d.attempts = 0 THEN d.world_id::text || d.webhook_id END"

VISIT = f"""
WITH RECURSIVE {VISITED}
SELECT v.world_id, v.webhook_id,
    w.status = 'disabled' AND w.deleted_at IS NULL AS disabled,
    w.status = 'enabled' AND v.due_at <= now() AS due,
    w.paused_until IS NOT NULL AS broken, coalesce(w.paused_until > now(), false) AS paused,
    v.due_at AS first_due
FROM visited v CROSS JOIN LATERAL (
    SELECT h.status, h.deleted_at, h.paused_until FROM webhooks h
    WHERE h.world_id = v.world_id AND h.id = v.webhook_id OFFSET 0
) w
ORDER BY v.nth
"""

# The event is not erased and tells of no deleted end user. A worker removes the other events.
_SENT = f"{present('e')} AND {NOT_ERASED}"

# A delivery that was never attempted waits for earlier ones of the same resource that never were and are not
# due later. A recovery may add earlier ones that are due later: if the others waited for those, all of the
# window could wait for deliveries outside of it. If another transaction changed a row since this statement
# began, the lock is on the changed row, whose ctid the UPDATE does not see: the row is left out.
# If the window is full and gives too few, because many deliveries of one resource are due first, the claim
# walks from resource to resource (a loose index scan, as in VISITED) and takes the first of each. Each walk
# begins at the first resource and ends after _WINDOW resources: while other workers lease the deliveries of
# these, a claim finds none of the resources behind them, and waits.
# The deliveries of a deleted end user's events are leased and not given, so the next claim takes others.
# The walk has found the first pending delivery of each webhook, so the claim begins there: while an old
# snapshot is held, the index still has an entry for each delivery that has ended before. For the same reason,
# a position is compared with the first one of the window before the look-up: the look-ups of a resource pass
# by these entries about once, and not once for each of its deliveries in the window. The window is sorted
# before (OFFSET 0), so that the look-ups end when all places are taken.
CLAIM = f"""
WITH chosen AS MATERIALIZED (
    SELECT r.world_id, c.id
    FROM unnest($1::bigint[], $2::text[], $3::bigint[], $5::timestamptz[])
        AS r (world_id, webhook_id, places, first_due)
    CROSS JOIN LATERAL (
        SELECT h.world_id::text || h.id AS key FROM webhooks h
        WHERE h.world_id = r.world_id AND h.id = r.webhook_id AND h.status = 'enabled' OFFSET 0
    ) w
    CROSS JOIN LATERAL (
        WITH RECURSIVE looked_at AS MATERIALIZED (
            SELECT d.id, d.resource_id, d.position, d.attempts, d.due_at FROM webhook_deliveries d
            WHERE ({OF_PENDING}) = w.key AND d.due_at BETWEEN r.first_due AND now()
                AND (d.leased_until IS NULL OR d.leased_until <= now())
            ORDER BY d.due_at LIMIT {_WINDOW}
        ), ready AS MATERIALIZED (
            SELECT n.id, n.due_at FROM (
                SELECT l.*, min(l.position) FILTER (WHERE l.attempts = 0)
                    OVER (PARTITION BY l.resource_id ORDER BY l.due_at) AS first
                FROM looked_at l ORDER BY l.due_at OFFSET 0
            ) n
            WHERE n.attempts > 0 OR n.position = n.first AND n.position = (
                SELECT d.position FROM webhook_deliveries d
                WHERE ({_OF_NEW}) = w.key AND d.resource_id = n.resource_id AND d.due_at <= n.due_at
                ORDER BY d.position LIMIT 1)
            ORDER BY n.due_at LIMIT r.places
        ), walked AS (
            SELECT '' COLLATE "C" AS resource_id, NULL::text COLLATE "C" AS id, NULL::timestamptz AS due_at,
                NULL::timestamptz AS leased_until, 0 AS nth
            WHERE (SELECT count(*) FROM looked_at) = {_WINDOW} AND (SELECT count(*) FROM ready) < r.places
            UNION ALL
            SELECT f.resource_id, f.id, f.due_at, f.leased_until, v.nth + 1
            FROM walked v CROSS JOIN LATERAL (
                SELECT d.resource_id, d.id, d.due_at, d.leased_until FROM webhook_deliveries d
                WHERE ({_OF_NEW}) = w.key AND d.resource_id > v.resource_id
                ORDER BY d.resource_id, d.position LIMIT 1
            ) f
            WHERE v.nth < {_WINDOW}
        )
        SELECT t.id FROM (
            SELECT n.id, n.due_at FROM ready n
            UNION
            SELECT v.id, v.due_at FROM walked v
            WHERE v.due_at <= now() AND (v.leased_until IS NULL OR v.leased_until <= now())
        ) t
        ORDER BY t.due_at LIMIT r.places
    ) c
), locked AS MATERIALIZED (
    SELECT l.at FROM chosen c CROSS JOIN LATERAL (
        SELECT d.ctid AS at FROM webhook_deliveries d
        WHERE d.world_id = c.world_id AND d.id = c.id
        FOR NO KEY UPDATE SKIP LOCKED
    ) l
), leased AS (
    UPDATE webhook_deliveries d SET leased_until = now() + $4
    WHERE d.ctid = ANY(ARRAY(SELECT at FROM locked)) AND d.world_id = ANY($1)
    RETURNING d.world_id, d.id, d.webhook_id, d.event_id, d.position, d.attempts, d.tries
)
SELECT d.world_id, d.id, d.webhook_id, d.event_id, d.position, d.attempts, d.tries, w.url,
    w.sealed_secret, w.sealed_previous_secret,
    extract(epoch FROM clock_timestamp() - e.created_at)::float8 AS age_seconds, e.body
FROM leased d
CROSS JOIN LATERAL (
    SELECT h.url, h.sealed_secret,
        CASE WHEN h.previous_secret_until > now() THEN h.sealed_previous_secret END AS sealed_previous_secret
    FROM webhooks h WHERE h.world_id = d.world_id AND h.id = d.webhook_id OFFSET 0
) w
CROSS JOIN LATERAL (
    SELECT e.created_at, CASE WHEN octet_length(e.body) <= {SMALL_BODY_BYTES} THEN e.body END AS body
    FROM {EVENT_ROWS} WHERE e.world_id = d.world_id AND e.id = d.event_id AND {_SENT} OFFSET 0
) e
"""

# Of several workers, one gets the probe: the others leave the webhook out.
LOCK_PROBES = """
SELECT w.world_id, w.id
FROM unnest($1::bigint[], $2::text[]) AS p (world_id, id)
JOIN webhooks w ON w.world_id = p.world_id AND w.id = p.id
WHERE w.paused_until <= now() AND w.status = 'enabled'
FOR NO KEY UPDATE OF w SKIP LOCKED
"""

# In the transaction that holds the webhooks.
TAKE_PROBES = """
UPDATE webhooks w SET paused_until = now() + $3
FROM unnest($1::bigint[], $2::text[]) AS p (world_id, id)
WHERE w.world_id = p.world_id AND w.id = p.id
RETURNING w.world_id, w.id, w.paused_until AS until
"""

# The pause of a probe has its time, which nothing else sets: a pause that a receiver asked for stays.
PAUSED_BY_PROBES = """
SELECT w.world_id, w.id
FROM unnest($1::bigint[], $2::text[], $3::timestamptz[]) AS p (world_id, id, until)
JOIN webhooks w ON w.world_id = p.world_id AND w.id = p.id
WHERE w.paused_until = p.until
"""
END_PAUSES = f"""
WITH locked AS MATERIALIZED ({PAUSED_BY_PROBES} FOR NO KEY UPDATE OF w SKIP LOCKED)
UPDATE webhooks w SET paused_until = now() FROM locked l
WHERE w.world_id = l.world_id AND w.id = l.id
"""

READ_BODY = f"""
SELECT e.body FROM {EVENT_ROWS}
JOIN webhook_deliveries d ON d.world_id = e.world_id AND d.event_id = e.id
JOIN webhooks w ON w.world_id = d.world_id AND w.id = d.webhook_id
WHERE d.world_id = $1 AND d.id = $2 AND w.status = 'enabled' AND {_SENT}
"""

_HELD = """
ARRAY(
    SELECT l.at FROM unnest($1::bigint[], $2::text[]) AS g (world_id, id) CROSS JOIN LATERAL (
        SELECT p.ctid AS at FROM webhook_deliveries p
        WHERE p.world_id = g.world_id AND p.id = g.id
        FOR NO KEY UPDATE SKIP LOCKED
    ) l
)
"""

RENEW = f"""
UPDATE webhook_deliveries d SET leased_until = now() + $3
WHERE d.ctid = ANY({_HELD}) AND d.world_id = ANY($1) AND d.state = 'pending'
"""

RELEASE = f"""
UPDATE webhook_deliveries d SET leased_until = NULL
WHERE d.ctid = ANY({_HELD}) AND d.world_id = ANY($1)
"""


class VisitRow(msgspec.Struct, frozen=True):
    """A webhook with pending deliveries. `due`: it is enabled, and the first of them is due now. `broken`:
    its circuit is open; `paused`: it gets no probe yet. `first_due`: when the first of them is due."""

    world_id: int
    webhook_id: str
    disabled: bool
    due: bool
    broken: bool
    paused: bool
    first_due: datetime


class ClaimedRow(msgspec.Struct, frozen=True):
    """A claimed delivery with what its attempt needs. `body` is None for a large body. `age_seconds`: since
    the transaction that wrote the event began."""

    world_id: int
    id: str
    webhook_id: str
    event_id: str
    position: int
    attempts: int
    tries: int
    url: str
    sealed_secret: bytes
    sealed_previous_secret: bytes | None
    age_seconds: float
    body: bytes | None


class WebhookKeyRow(msgspec.Struct, frozen=True):
    """World and id of a webhook."""

    world_id: int
    id: str


class ProbeRow(msgspec.Struct, frozen=True):
    """A webhook that gets one attempt, which decides about others; it gets no other one before `until`."""

    world_id: int
    id: str
    until: datetime


async def visit(connection: Connection, after: tuple[int, str], limit: int) -> list[VisitRow]:
    """The next `limit` webhooks after this one, by world and id, that have pending deliveries."""
    return await fetch_rows(connection, VisitRow, VISIT, *after, limit)


async def claim(
    connection: Connection,
    rooms: Sequence[tuple[int, str, int]],
    first_due: Mapping[tuple[int, str], datetime],
) -> list[ClaimedRow]:
    """Lease due deliveries. `rooms`: world, webhook, and how many of its deliveries at most. `first_due`: for
    each world and webhook, the time before which none of its pending deliveries is due."""
    begin = [first_due[world_id, webhook_id] for world_id, webhook_id, _ in rooms]
    return await fetch_rows(connection, ClaimedRow, CLAIM, *columns(rooms), LEASE, begin)


async def lock_probes(connection: Connection, webhooks: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Lock the webhooks (world, id) that may be probed now. Those that are locked are left out."""
    rows = await fetch_rows(connection, WebhookKeyRow, LOCK_PROBES, *columns(webhooks))
    return [(row.world_id, row.id) for row in rows]


async def take_probes(
    connection: Connection, webhooks: Sequence[tuple[int, str]]
) -> dict[tuple[int, str], datetime]:
    """Pause webhooks (world, id) that the transaction holds, for their probes. Returns until when."""
    rows = await fetch_rows(connection, ProbeRow, TAKE_PROBES, *columns(webhooks), PROBE)
    return {(row.world_id, row.id): row.until for row in rows}


async def end_pauses(
    connection: Connection, pauses: Sequence[tuple[int, str, datetime]]
) -> set[tuple[int, str]]:
    """End the pauses of probes (world, webhook, until when). Returns the webhooks that are locked."""
    if not pauses:
        return set()
    await connection.execute(END_PAUSES, *columns(pauses))
    rows = await fetch_rows(connection, WebhookKeyRow, PAUSED_BY_PROBES, *columns(pauses))
    return {(row.world_id, row.id) for row in rows}


async def read_body(connection: Connection, world_id: int, delivery_id: str) -> bytes | None:
    """The body of a delivery's event; None when the delivery is gone, its webhook is disabled, or
    the end user that the event tells of is deleted."""
    return await fetch_value(connection, bytes, READ_BODY, world_id, delivery_id)


async def renew(connection: Connection, deliveries: Sequence[tuple[int, str]]) -> None:
    """Lease these deliveries (world, id) again from now on."""
    await connection.execute(RENEW, *columns(deliveries), LEASE)


async def release(connection: Connection, deliveries: Sequence[tuple[int, str]]) -> None:
    """End the leases of deliveries (world, id) that this worker does not attempt."""
    await connection.execute(RELEASE, *columns(deliveries))
