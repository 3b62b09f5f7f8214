"""Events for other systems, written in the transaction that caused them.

The bytes of the body are fixed here: every delivery of the event sends exactly these bytes. The pattern is
the transactional outbox (https://microservices.io/patterns/data/transactional-outbox.html).

After its commit, an event gets a position: its place in the stream of its world, counted from 1. Transactions
commit in another order than they insert, so a reader that continues after an id or a time would miss events
that commit late. Only one transaction at a time gives positions. So when a position is visible, all smaller
positions of the world are visible too, and a reader that continues after a position misses nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from lapel.foundation.core.clock import timestamp
from lapel.foundation.database.batches import columns, deleting_some
from lapel.foundation.database.rows import fetch_only_value, fetch_rows, fetch_value, fetch_values

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.connection import Connection


# A whole body is at most 1 MiB; the envelope around the data is smaller than the difference.
MAX_DATA_BYTES = 2**20 - 1024


def data_of(resource: msgspec.Struct, name: str, texts: Collection[str]) -> bytes:
    """The data of an event about a resource with long texts: its fields, and under `name` the fields again.

    The nested object has no `texts` (names of fields). If the JSON would exceed MAX_DATA_BYTES, the texts are
    null.
    """
    shown: dict[str, object] = {
        field: value
        for field in resource.__struct_fields__
        if (value := getattr(resource, field)) is not msgspec.UNSET
    }
    shown[name] = {field: value for field, value in shown.items() if field not in texts}
    body = msgspec.json.encode(shown)
    if len(body) > MAX_DATA_BYTES:
        body = msgspec.json.encode(shown | dict.fromkeys(texts))
    return body


class FrozenRow(msgspec.Struct, frozen=True):
    """An event and the bytes of its body."""

    id: str
    body: bytes


class Envelope(msgspec.Struct, frozen=True):
    """The body of an event, as a webhook would receive it."""

    id: str
    type: str
    created_at: str
    data: msgspec.Raw


# Tells that events without a position were committed; with the payload `ERASED`, that some were erased.
EVENTS_CHANNEL = "lapel_events"
ERASED = "erased"
# Tells that events of a world got positions; the payload is the world.
POSITIONS_CHANNEL = "lapel_positions"

# PostgreSQL sends one notification per transaction, however often this is called in it.
_NOTIFY = f"SELECT count(pg_notify('{EVENTS_CHANNEL}', '')) FROM made"

INSERT_EVENT = f"""
WITH made AS (
    INSERT INTO events (world_id, id, type, resource_id, dedupe, body, created_at, test_for, end_user_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (world_id, dedupe) DO NOTHING
    RETURNING 1
)
{_NOTIFY}
"""

INSERT_EVENTS = f"""
WITH made AS (
    INSERT INTO events (world_id, id, type, resource_id, dedupe, body, created_at, end_user_id)
    SELECT $1, event.id, $2, event.resource_id, event.dedupe, event.body, $7, event.end_user_id
    FROM unnest($3::text[], $4::text[], $5::text[], $6::bytea[], $8::text[])
        WITH ORDINALITY AS event (id, resource_id, dedupe, body, end_user_id, nth)
    ORDER BY event.nth
    ON CONFLICT (world_id, dedupe) DO NOTHING
    RETURNING 1
)
{_NOTIFY}
"""

# The events, for statements of a slice that sends their bodies. These statements leave out the events of
# deleted end users, which is a matter of slices.
EVENT_ROWS = "events e"
# Every statement that shows or sends such events has this condition.
NOT_ERASED = "NOT e.erased"

# Held until the transaction ends: positions are given by one transaction at a time.
LOCK_POSITIONS = "SELECT pg_try_advisory_xact_lock(hashtext('lapel event positions'))"

# The world of an event `e` without a position: the first column of the index events_without_place. It is an
# expression, so that these statements can use no other index. After a burst, this one has many pages for few
# events, and PostgreSQL would take one in which it passes by the other events of the worlds.
OF_WAITING = "CASE WHEN e.position IS NULL THEN e.world_id END"

# Of all worlds, because one worker places the events of the whole server. One step through the index finds
# each world, however many of its events wait: a loose index scan
# (https://wiki.postgresql.org/wiki/Loose_indexscan). $1: the first world; $2: the most worlds.
_WAITING_WORLDS = f"""found AS (
    (SELECT e.world_id, 1 AS nth FROM events e
    WHERE ({OF_WAITING}) >= $1::bigint ORDER BY {OF_WAITING} LIMIT 1)
    UNION ALL
    SELECT n.world_id, w.nth + 1
    FROM found w CROSS JOIN LATERAL (
        SELECT e.world_id FROM events e
        WHERE ({OF_WAITING}) > w.world_id ORDER BY {OF_WAITING} LIMIT 1
    ) n
    WHERE w.nth < $2
)"""

# $3: the most events, which the worlds share. $4: resources whose events are left out.
WAITING = f"""
WITH RECURSIVE {_WAITING_WORLDS}
SELECT e.world_id, e.id, e.type, e.resource_id, e.test_for
FROM found w CROSS JOIN LATERAL (
    SELECT e.world_id, e.id, e.type, e.resource_id, e.test_for, e.inserted FROM events e
    WHERE ({OF_WAITING}) = w.world_id AND e.resource_id <> ALL($4::text[])
    ORDER BY e.inserted NULLS FIRST, e.id LIMIT greatest($3::bigint / (SELECT count(*) FROM found), 1)
) e
ORDER BY w.nth, e.inserted NULLS FIRST, e.id
"""

WAITING_SECONDS = f"""
WITH RECURSIVE {_WAITING_WORLDS}
SELECT coalesce(greatest(extract(epoch FROM now() - min(e.created_at)), 0), 0)::float8
FROM found w CROSS JOIN LATERAL (
    SELECT e.created_at FROM events e
    WHERE ({OF_WAITING}) = w.world_id ORDER BY e.inserted NULLS FIRST, e.id LIMIT 1
) e
"""

# A transaction that deletes an event has locked it, and may wait for another event that this one has locked.
# So this statement waits for no event. A locked one is left out, and the later ones of its resource too,
# because the deletion may be taken back. The look-up does not ask for events without a position. Otherwise
# PostgreSQL may read all of them for each event, because their index is small when statistics are made.
PLACE_EVENTS = f"""
WITH chosen AS MATERIALIZED (
    SELECT c.world_id, c.id, c.resource_id, c.nth, l.id IS NULL AS locked
    FROM unnest($1::bigint[], $2::text[], $3::text[]) WITH ORDINALITY AS c (world_id, id, resource_id, nth)
    LEFT JOIN LATERAL (
        SELECT e.id FROM events e WHERE e.world_id = c.world_id AND e.id = c.id
        FOR NO KEY UPDATE SKIP LOCKED
    ) l ON true
), batch AS MATERIALIZED (
    SELECT f.world_id, f.id, row_number() OVER (PARTITION BY f.world_id ORDER BY f.nth) AS nth
    FROM (
        SELECT c.world_id, c.id, c.nth,
            bool_or(c.locked) OVER (PARTITION BY c.world_id, c.resource_id ORDER BY c.nth) AS behind
        FROM chosen c
    ) f
    WHERE NOT f.behind
), moved AS (
    INSERT INTO event_positions AS p (world_id, last)
    SELECT world_id, count(*) FROM batch GROUP BY world_id
    ON CONFLICT (world_id) DO UPDATE SET last = p.last + excluded.last
    RETURNING world_id, last, pg_notify('{POSITIONS_CHANNEL}', world_id::text)
)
UPDATE events e SET position = p.position
FROM (
    SELECT batch.world_id, batch.id,
        m.last - count(*) OVER (PARTITION BY batch.world_id) + batch.nth AS position
    FROM batch JOIN moved m USING (world_id)
) p
WHERE e.world_id = p.world_id AND e.id = p.id
RETURNING e.world_id, e.id, e.type, e.resource_id, e.position, e.test_for
"""

# The age is an expression, so that its index serves only this statement: with an index of `created_at`,
# PostgreSQL may read the events of all worlds by their age to make one world's list.
PRUNE_EVENTS = """
DELETE FROM events WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM events WHERE created_at AT TIME ZONE 'UTC' < $1::timestamptz AT TIME ZONE 'UTC'
    ORDER BY created_at AT TIME ZONE 'UTC' LIMIT $2 FOR UPDATE SKIP LOCKED))
"""

# For the export of an end user. The events of a recording are with the recording, so `OF_END_USER` has only
# the events of devices. Indexes: events_of_resource, events_of_end_user.
OF_RESOURCE = """
SELECT id, body FROM events WHERE world_id = $1 AND resource_id = $2 AND id > $3 AND NOT erased
ORDER BY id LIMIT $4
"""
OF_END_USER = """
SELECT id, body FROM events WHERE world_id = $1 AND end_user_id = $2 AND type LIKE 'device.%' AND id > $3
    AND NOT erased ORDER BY id LIMIT $4
"""

# An event without a position has no deliveries. `coalesce`: otherwise PostgreSQL may read all events of the
# world that have no position.
ERASE_WAITING = """
DELETE FROM events WHERE world_id = $1 AND resource_id = ANY($2::text[]) AND coalesce(position, 0) = 0
"""
# An event may have a delivery for each webhook of its world, and a resource hundreds of events. So the data
# goes now, and a worker removes the rows in batches. The body stays an event, with the id of the resource
# alone: until an upgrade has reached all processes, the old ones do not know of `erased`, and may still send
# or show it.
ERASE_EVENTS = f"""
WITH emptied AS (
    UPDATE events SET erased = true, body = convert_to(json_build_object(
        'id', id, 'type', type,
        'created_at', to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'data', json_build_object('id', resource_id))::text, 'UTF8')
    WHERE world_id = $1 AND resource_id = ANY($2::text[]) AND NOT erased RETURNING 1
)
SELECT count(pg_notify('{EVENTS_CHANNEL}', '{ERASED}')) FROM emptied
"""
NEXT_WORLD_WITH_ERASED = "SELECT min(world_id) FROM events WHERE erased AND world_id > $1"
LOCK_ERASED = """
SELECT id FROM events WHERE world_id = $1 AND erased ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
"""
REMOVE_ERASED = "DELETE FROM events WHERE world_id = $1 AND id = ANY($2::text[])"
ERASE_EVENTS_OF_END_USER = deleting_some(
    "events", "SELECT ctid FROM events WHERE world_id = $1 AND end_user_id = $2 LIMIT $3 FOR UPDATE"
)


class EventSample(msgspec.Struct, frozen=True):
    """An event of a resource that does not exist, for a test: its resource's id, and its data as JSON."""

    resource_id: str
    data: bytes


# Makes a sample with the code that makes the live events of its type: `(ids, now, project id)`.
SampleMaker: TypeAlias = "Callable[[Ids, datetime, str], EventSample]"


class WaitingRow(msgspec.Struct, frozen=True):
    """A committed event without a position."""

    world_id: int
    id: str
    type: str
    resource_id: str
    test_for: str | None


class PlacedRow(msgspec.Struct, frozen=True):
    """An event that just got its position."""

    world_id: int
    id: str
    type: str
    resource_id: str
    position: int
    test_for: str | None


async def publish(
    connection: Connection,
    ids: Ids,
    now: datetime,
    *,
    world_id: int,
    type: str,  # noqa: A002 - the contract's word
    resource_id: str,
    data: bytes,
    dedupe: str | None = None,
    test_for: str | None = None,
    end_user_id: str | None = None,
) -> str:
    """Write one event. `data` is the JSON of the resource as GET answers it. Returns the event's id.

    `dedupe` is a name that only one event of a world may have (default: the type and the resource's id). A
    second event with the same name is dropped. `test_for`: the webhook that asked for a test event.
    `end_user_id`: the end user that the event is about. When this end user is deleted, no answer shows the
    event, no webhook gets it, and it is erased.
    """
    event_id = ids.new("evt")
    body = _frozen(event_id, type, now, data)
    once = dedupe or f"{type}:{resource_id}"
    about = (type, resource_id, once, body, now, test_for, end_user_id)
    await connection.execute(INSERT_EVENT, world_id, event_id, *about)
    return event_id


async def publish_many(
    connection: Connection,
    ids: Ids,
    now: datetime,
    *,
    world_id: int,
    type: str,  # noqa: A002 - the contract's word
    resources: Sequence[tuple[str, bytes]],
    dedupes: Sequence[str] | None = None,
    end_user_ids: Sequence[str | None] | None = None,
) -> None:
    """`publish` for many resources in one statement; `resources` are (resource id, data).

    `dedupes` and `end_user_ids`, if given, have one item for each resource.
    """
    event_ids = [ids.new("evt") for _ in resources]
    bodies = [
        _frozen(event_id, type, now, data) for event_id, (_, data) in zip(event_ids, resources, strict=True)
    ]
    resource_ids = [resource_id for resource_id, _ in resources]
    once = dedupes or [f"{type}:{resource_id}" for resource_id in resource_ids]
    whose = end_user_ids or [None] * len(event_ids)
    await connection.execute(INSERT_EVENTS, world_id, type, event_ids, resource_ids, once, bodies, now, whose)


def _frozen(event_id: str, type_: str, now: datetime, data: bytes) -> bytes:
    return msgspec.json.encode(
        Envelope(id=event_id, type=type_, created_at=timestamp(now), data=msgspec.Raw(data))
    )


async def lock_positions(connection: Connection) -> bool:
    """Whether this transaction may give positions; not while another one does."""
    return bool(await fetch_value(connection, bool, LOCK_POSITIONS))


async def waiting(
    connection: Connection, first_world: int, worlds: int, events: int, left_out: Collection[str] = ()
) -> list[WaitingRow]:
    """Committed events without a position: of each world the oldest, in their order.

    The worlds are those from `first_world` on, by their ids, `worlds` at most. They share the number
    `events`, with at least one for each. `left_out`: no events of these resources.
    """
    return await fetch_rows(connection, WaitingRow, WAITING, first_world, worlds, events, list(left_out))


async def waiting_seconds(connection: Connection) -> float:
    """The age of the oldest committed event without a position, of 10,000 worlds at most; 0 without one."""
    return await fetch_only_value(connection, float, WAITING_SECONDS, 0, 10_000)


async def place(connection: Connection, chosen: Sequence[WaitingRow]) -> list[PlacedRow]:
    """Give the next positions of their worlds to these events, in a transaction that holds the positions.

    The transaction has read them with `waiting`. Returns them in the order of their worlds and positions. An
    event that another transaction deletes is left out, and the later ones of its resource too.
    """
    events = [(row.world_id, row.id, row.resource_id) for row in chosen]
    placed = await fetch_rows(connection, PlacedRow, PLACE_EVENTS, *columns(events))
    return sorted(placed, key=lambda row: (row.world_id, row.position))


async def erase(connection: Connection, world_id: int, resource_ids: list[str]) -> None:
    """Erase the events of deleted resources: their data at once, and from every answer and delivery.

    A worker removes their rows later, with their deliveries.
    """
    await connection.execute(ERASE_WAITING, world_id, resource_ids)
    await fetch_only_value(connection, int, ERASE_EVENTS, world_id, resource_ids)


async def next_world_with_erased(connection: Connection, after: int) -> int | None:
    """The next world, by its id, that has rows of erased events."""
    return await fetch_value(connection, int, NEXT_WORLD_WITH_ERASED, after)


async def lock_erased(connection: Connection, world_id: int, limit: int) -> list[str]:
    """Lock rows of erased events, `limit` at most, without those that another transaction has locked."""
    return await fetch_values(connection, str, LOCK_ERASED, world_id, limit)


async def remove_erased(connection: Connection, world_id: int, event_ids: list[str]) -> None:
    """Delete the rows of erased events that this transaction has locked."""
    await connection.execute(REMOVE_ERASED, world_id, event_ids)


async def erase_some_of_end_user(connection: Connection, world_id: int, end_user_id: str, limit: int) -> int:
    """Delete events, `limit` at most, that are about a deleted end user.

    Returns the number of deleted events; 0 when none is left.
    """
    return await connection.fetchval(ERASE_EVENTS_OF_END_USER, world_id, end_user_id, limit)


async def some_of_resource(
    connection: Connection, world_id: int, resource_id: str, after: str, limit: int
) -> list[FrozenRow]:
    """At most `limit` events of a resource, those after the id `after`, in the order of their ids."""
    return await fetch_rows(connection, FrozenRow, OF_RESOURCE, world_id, resource_id, after, limit)


async def some_of_end_user(
    connection: Connection, world_id: int, end_user_id: str, after: str, limit: int
) -> list[FrozenRow]:
    """As `some_of_resource`, for the events of devices that are about an end user."""
    return await fetch_rows(connection, FrozenRow, OF_END_USER, world_id, end_user_id, after, limit)
