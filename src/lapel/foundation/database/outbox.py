"""Events for other systems, written in the transaction that caused them.

The bytes of the body are fixed here: every delivery of the event sends exactly these bytes. The pattern is
the transactional outbox (https://microservices.io/patterns/data/transactional-outbox.html).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.clock import timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.connection import Connection


# A whole body is at most 1 MiB; the envelope around the data is smaller than the difference.
MAX_DATA_BYTES = 2**20 - 1024


class Envelope(msgspec.Struct, frozen=True):
    """The body of an event, as a webhook would receive it."""

    id: str
    type: str
    created_at: str
    data: msgspec.Raw


INSERT_EVENT = """
INSERT INTO events (world_id, id, type, resource_id, dedupe, body, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (world_id, dedupe) DO NOTHING
"""

INSERT_EVENTS = """
INSERT INTO events (world_id, id, type, resource_id, dedupe, body, created_at, end_user_id)
SELECT $1, event.id, $2, event.resource_id, event.dedupe, event.body, $7, event.end_user_id
FROM unnest($3::text[], $4::text[], $5::text[], $6::bytea[], $8::text[])
    AS event (id, resource_id, dedupe, body, end_user_id)
ON CONFLICT (world_id, dedupe) DO NOTHING
"""

PRUNE_EVENTS = """
DELETE FROM events WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM events WHERE created_at < $1 ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))
"""

ERASE_EVENTS = "DELETE FROM events WHERE world_id = $1 AND resource_id = ANY($2::text[])"
ERASE_EVENTS_OF_END_USER = """
WITH held AS MATERIALIZED (
    SELECT ctid FROM events WHERE world_id = $1 AND end_user_id = $2 LIMIT $3 FOR UPDATE
), gone AS (
    DELETE FROM events WHERE ctid = ANY(ARRAY(SELECT ctid FROM held)) AND world_id = $1
)
SELECT count(*) FROM held
"""


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
) -> None:
    """Write one event. `data` is the JSON of the resource as GET answers it.

    `dedupe` is a name that only one event of a world may have (default: the type and the resource's id). A
    second event with the same name is dropped.
    """
    event_id = ids.new("evt")
    body = _frozen(event_id, type, now, data)
    await connection.execute(
        INSERT_EVENT, world_id, event_id, type, resource_id, dedupe or f"{type}:{resource_id}", body, now
    )


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

    `dedupes` and `end_user_ids`, if given, have one item for each resource. An event with an end user's id is
    erased with this end user. Give the id if the event is about an end user, but its resource stays when the
    end user is deleted.
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


async def erase(connection: Connection, world_id: int, resource_ids: list[str]) -> None:
    """Delete the events of erased resources."""
    await connection.execute(ERASE_EVENTS, world_id, resource_ids)


async def erase_some_of_end_user(connection: Connection, world_id: int, end_user_id: str, limit: int) -> int:
    """Delete events, `limit` at most, that are about a deleted end user and whose resources stay.

    Returns the number of deleted events; 0 when none is left.
    """
    return await connection.fetchval(ERASE_EVENTS_OF_END_USER, world_id, end_user_id, limit)
