"""SQL of the fan-out: one delivery for each placed event and each webhook that is to get it."""

from __future__ import annotations

from collections import Counter, defaultdict
from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.batches import columns
from lapel.foundation.database.rows import fetch_only_value, fetch_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.database.outbox import PlacedRow, WaitingRow

COUNT_SUBSCRIBED = """
SELECT w.world_id, t.type, count(*) AS webhooks
FROM webhooks w CROSS JOIN LATERAL unnest(w.events) AS t (type)
WHERE w.world_id = ANY($1::bigint[]) AND w.status = 'enabled'
GROUP BY w.world_id, t.type
"""

# The lock keeps each webhook until the deliveries refer to it. A webhook that is being deleted is waited for,
# and then left out. A type is compared once with each webhook, and not once for each event.
MATCH = """
WITH chosen AS MATERIALIZED (
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) AS e (world_id, id, type, test_for)
), open AS MATERIALIZED (
    SELECT w.world_id, w.id, w.events FROM webhooks w
    WHERE w.world_id = ANY($1::bigint[]) AND w.status = 'enabled'
        AND (w.id = ANY($4::text[]) OR w.events && (ARRAY['*'] || ARRAY(SELECT DISTINCT type FROM chosen)))
    FOR KEY SHARE
), subscribed AS MATERIALIZED (
    SELECT o.world_id, t.type, o.id
    FROM (SELECT DISTINCT world_id, type FROM chosen WHERE test_for IS NULL) t
    JOIN open o ON o.world_id = t.world_id AND o.events && ARRAY['*', t.type]
)
SELECT e.world_id, e.id AS event_id, s.id AS webhook_id
FROM chosen e JOIN subscribed s ON s.world_id = e.world_id AND s.type = e.type WHERE e.test_for IS NULL
UNION ALL
SELECT e.world_id, e.id, o.id
FROM chosen e JOIN open o ON o.world_id = e.world_id AND o.id = e.test_for
"""

# Deliveries are due in the order of their positions, those of one batch a microsecond apart: a claim takes
# those that are due first, and an event waits for earlier ones of its resource that are not due later. The
# time is read after the transaction got the lock on positions. `now()` is the time of its BEGIN, and another
# fan-out may have placed earlier events of the resource between the two. If the webhook has no room for a
# delivery, the delivery has failed from the beginning.
INSERT_DELIVERIES = """
WITH made AS (
    INSERT INTO webhook_deliveries (world_id, id, webhook_id, event_id, resource_id, position, state, due_at,
        created_at, ended_at, failure)
    SELECT d.world_id, d.id, d.webhook_id, d.event_id, d.resource_id, d.position,
        CASE WHEN d.has_room THEN 'pending' ELSE 'failed' END,
        CASE WHEN d.has_room THEN (SELECT clock_timestamp()) + d.nth * interval '1 microsecond' END, now(),
        CASE WHEN NOT d.has_room THEN now() END, CASE WHEN NOT d.has_room THEN 'too_many_pending' END
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bool[])
        WITH ORDINALITY AS d (world_id, id, webhook_id, event_id, resource_id, position, has_room, nth)
    ON CONFLICT (world_id, event_id, webhook_id) DO NOTHING
    RETURNING state
)
SELECT count(*) FROM made WHERE state = 'failed'
"""


class SubscribedRow(msgspec.Struct, frozen=True):
    """How many enabled webhooks of a world name a type; `*` is a type of its own."""

    world_id: int
    type: str
    webhooks: int


class MatchRow(msgspec.Struct, frozen=True):
    """An event, and a webhook that is to get it."""

    world_id: int
    event_id: str
    webhook_id: str


async def count_subscribed(connection: Connection, worlds: Sequence[int]) -> dict[tuple[int, str], int]:
    """The number of enabled webhooks that name a type, by world and type; `*` is a type of its own."""
    rows = await fetch_rows(connection, SubscribedRow, COUNT_SUBSCRIBED, worlds)
    return {(row.world_id, row.type): row.webhooks for row in rows}


async def match(connection: Connection, events: Sequence[WaitingRow]) -> list[MatchRow]:
    """The enabled webhooks that are subscribed to each event; of a test event, the webhook that it is for."""
    chosen = [(e.world_id, e.id, e.type, e.test_for) for e in events]
    return await fetch_rows(connection, MatchRow, MATCH, *columns(chosen))


async def insert_deliveries(
    connection: Connection,
    ids: Ids,
    events: Sequence[PlacedRow],
    matches: Sequence[MatchRow],
    rooms: Mapping[tuple[int, str], int],
) -> int:
    """Write one delivery for each match of these events, due now. One that exists already stays as it is.

    `rooms`: how many deliveries of each webhook (world, id) are pending; the later ones have failed. Returns
    how many have.
    """
    written = Counter[tuple[int, str]]()
    webhooks: defaultdict[tuple[int, str], list[str]] = defaultdict(list)
    for m in matches:
        webhooks[m.world_id, m.event_id].append(m.webhook_id)
    deliveries: list[tuple[int, str, str, str, str, int, bool]] = []
    for e in sorted(events, key=attrgetter("position")):
        for webhook_id in webhooks[e.world_id, e.id]:
            key = e.world_id, webhook_id
            written[key] += 1
            has_room = written[key] <= rooms[key]
            deliveries.append(
                (e.world_id, ids.new("whd"), webhook_id, e.id, e.resource_id, e.position, has_room)
            )
    return await fetch_only_value(connection, int, INSERT_DELIVERIES, *columns(deliveries))
