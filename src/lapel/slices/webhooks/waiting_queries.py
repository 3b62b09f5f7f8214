"""SQL about pending deliveries: the walk over their webhooks, how many they are, and how far behind.

It serves the workers and the operator, so it is about all worlds.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.batches import columns
from lapel.foundation.database.outbox import EVENT_ROWS
from lapel.foundation.database.rows import fetch_only_row, fetch_rows, fetch_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection

# A webhook is overdue after this time.
LATE = timedelta(minutes=5)
# The most webhooks that a measurement looks at, so that it is quick however many wait.
_MOST = 10_000

# Before every webhook, by world and id.
BEGINNING = (0, "")

# The webhook of a pending delivery `d`: the first column of the index webhook_deliveries_due. Ids of webhooks
# do not begin with a digit, so the text names one webhook only. It is an expression, so that these statements
# can use no other index. After a backlog, this one has many pages for few entries, and PostgreSQL would take
# one in which it passes by all other deliveries of the webhook.
OF_PENDING = "CASE WHEN d.state = 'pending' THEN d.world_id::text || d.webhook_id END"

# One step through the index for each webhook, however many deliveries wait there: a loose index scan
# (https://wiki.postgresql.org/wiki/Loose_indexscan). $1 and $2: the webhook after which the walk begins; $3:
# the most webhooks.
VISITED = f"""visited AS (
    (SELECT d.world_id, d.webhook_id, d.due_at, 1 AS nth FROM webhook_deliveries d
    WHERE ({OF_PENDING}) > ($1::bigint::text || $2::text) ORDER BY {OF_PENDING}, d.due_at LIMIT 1)
    UNION ALL
    SELECT n.world_id, n.webhook_id, n.due_at, v.nth + 1
    FROM visited v CROSS JOIN LATERAL (
        SELECT d.world_id, d.webhook_id, d.due_at FROM webhook_deliveries d
        WHERE ({OF_PENDING}) > (v.world_id::text || v.webhook_id) ORDER BY {OF_PENDING}, d.due_at LIMIT 1
    ) n
    WHERE v.nth < $3
)"""

# Of webhooks that wait for nothing but a worker: they are enabled, and their circuit is closed. $4: when a
# delivery is late.
BACKLOG = f"""
WITH RECURSIVE {VISITED}
SELECT count(*) FILTER (WHERE v.due_at < now() - $4::interval) AS overdue,
    coalesce(extract(epoch FROM now() - min(v.due_at)), 0)::float8 AS seconds
FROM visited v JOIN webhooks w ON w.world_id = v.world_id AND w.id = v.webhook_id
WHERE v.due_at <= now() AND w.status = 'enabled' AND w.paused_until IS NULL
"""


# How many deliveries of each webhook are pending, counted up to its share: the enabled webhooks of a world
# share evenly what the world may have ($3).
PENDING = f"""
WITH shares AS MATERIALIZED (
    SELECT w.world_id, greatest($3::bigint / count(*), 1) AS share FROM webhooks w
    WHERE w.world_id = ANY($1::bigint[]) AND w.status = 'enabled' GROUP BY w.world_id
)
SELECT g.world_id, g.id AS webhook_id, g.share, (
    SELECT count(*) FROM (
        SELECT FROM webhook_deliveries d WHERE ({OF_PENDING}) = (g.world_id::text || g.id) LIMIT g.share
    ) p
) AS pending
FROM (
    SELECT u.world_id, u.id, coalesce(s.share, $3) AS share
    FROM unnest($1, $2::text[]) AS u (world_id, id) LEFT JOIN shares s ON s.world_id = u.world_id
) g
"""


# One is enough.
PENDING_TYPES = f"""
SELECT e.type FROM webhook_deliveries d CROSS JOIN LATERAL (
    SELECT e.type FROM {EVENT_ROWS} WHERE e.world_id = d.world_id AND e.id = d.event_id OFFSET 0
) e
WHERE d.world_id = $1 AND ({OF_PENDING}) = ($1::bigint::text || $2::text) AND e.type = ANY($3::text[]) LIMIT 1
"""


class BacklogRow(msgspec.Struct, frozen=True):
    """`overdue`: the webhooks with a delivery that is due for longer than `LATE`, although they may get it.
    `seconds`: for how long the oldest delivery is due."""

    overdue: int
    seconds: float


class PendingRow(msgspec.Struct, frozen=True):
    """How many deliveries of a webhook are pending, and how many may be. `pending` is not counted further
    than `share`."""

    world_id: int
    webhook_id: str
    share: int
    pending: int

    @property
    def room(self) -> int:
        """How many more deliveries may become pending."""
        return self.share - self.pending


async def find_pending_types(
    connection: Connection, world_id: int, webhook_id: str, types: Sequence[str]
) -> list[str]:
    """One of these types, if an event of it has a pending delivery to a webhook."""
    return await fetch_values(connection, str, PENDING_TYPES, world_id, webhook_id, types)


async def measure_pending(
    connection: Connection, webhooks: Sequence[tuple[int, str]], of_world: int
) -> list[PendingRow]:
    """How many deliveries of each webhook (world, id) are pending. `of_world`: the most of a world."""
    return await fetch_rows(connection, PendingRow, PENDING, *columns(webhooks), of_world)


async def measure_backlog(connection: Connection) -> BacklogRow:
    """How far the deliveries are behind, of the first 10,000 webhooks that have pending ones."""
    return await fetch_only_row(connection, BacklogRow, BACKLOG, *BEGINNING, _MOST, LATE)
