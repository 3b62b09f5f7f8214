"""All SQL that reads events; foundation/database/outbox.py writes them.

Every statement leaves out test events, which only one webhook gets, erased events, and the events of deleted
end users.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from lapel.foundation.database.rows import fetch_only_value, fetch_rows, fetch_value
from lapel.foundation.http.input.pagination import PLANNED_ANEW, from_start
from lapel.slices.end_users.service import present

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow


Kind: TypeAlias = Literal["from_start", "newest", "of_resource", "of_types"]


class EventRow(msgspec.Struct, frozen=True):
    """An event of a page. `followed`: more events follow this row."""

    id: str
    body: bytes
    created_at: datetime
    followed: bool


class Filter(msgspec.Struct, frozen=True):
    """The events of a list: those at or after `least`, of one resource, and of some types."""

    least: datetime
    resource_id: str | None
    types: list[str] | None

    def kind(self, asked: PageWindow) -> Kind:
        """The statements that apply the filter."""
        if self.resource_id is not None:
            return "of_resource"
        if self.types is not None:
            return "of_types"
        return "newest" if asked.offset else "from_start"

    def arguments(self, asked: PageWindow) -> tuple[object, ...]:
        """The arguments of these statements, after the world."""
        window = (asked.before_time, asked.before_id, asked.fetch, asked.offset, self.least)
        match self.kind(asked):
            case "of_resource":
                return (*window, self.resource_id, self.types)
            case "of_types":
                return (*window, self.types)
            case "newest" | "from_start":
                return window


class StreamedRow(msgspec.Struct, frozen=True):
    """An event of a stream. The body of an event that the filter leaves out is NULL."""

    position: int
    body: bytes | None


_SHOWN = f"test_for IS NULL AND NOT erased AND {present('events')}"

# $1: the world; $2, $3: the place before the page; $4: the rows to read; $5: the rows to skip; $6: the least
# time. A statement for each filter instead of one with `OR`, so that the plan of each uses its own index.
_ROWS = f"""
SELECT id, body, created_at FROM events
WHERE world_id = $1 AND (created_at, id) < ($2, $3) AND {_SHOWN}{{also}}
ORDER BY created_at DESC, id DESC LIMIT {{limit}}
"""
# The least time is compared after the rows are chosen: they come newest first, so only the last ones go.
#
# The statement reads no body after the one that fills a page, so that a hundred large events do not fill the
# memory. PostgreSQL stores long values apart from their rows, but the rows hold their lengths.
_PAGE = f"""
SELECT id, body, created_at, followed FROM (
    SELECT p.id, p.body, p.created_at,
        sum(octet_length(body)) OVER newest - octet_length(body) AS bytes_before,
        lead(id) OVER newest IS NOT NULL AS followed
    FROM ({{rows}}) p WHERE p.created_at >= $6::timestamptz
    WINDOW newest AS (ORDER BY created_at DESC, id DESC)
) q WHERE bytes_before <= {2**20} ORDER BY created_at DESC, id DESC
"""
_SIZE = "SELECT coalesce(sum(octet_length(body)), 0) FROM ({rows}) p WHERE p.created_at >= $6::timestamptz"
_NEWEST = _ROWS.format(also="", limit="$4 OFFSET $5")
_OF_RESOURCE = _ROWS.format(
    also=f" AND resource_id = $7 AND ($8::text[] IS NULL OR type = ANY($8)) AND {PLANNED_ANEW}",
    limit="$4 OFFSET $5",
)
# One walk along the index for each type, however rare the type is.
_OF_TYPES = (
    "SELECT e.id, e.body, e.created_at FROM unnest($7::text[]) AS wanted (type), LATERAL ("
    + _ROWS.format(also=f" AND events.type = wanted.type AND {PLANNED_ANEW}", limit="$4::bigint + $5::bigint")
    + ") e ORDER BY e.created_at DESC, e.id DESC LIMIT $4 OFFSET $5"
)
_KINDS: dict[Kind, str] = {
    "from_start": from_start(_NEWEST),
    "newest": _NEWEST,
    "of_resource": _OF_RESOURCE,
    "of_types": _OF_TYPES,
}
LIST = {kind: _PAGE.format(rows=rows) for kind, rows in _KINDS.items()}
LIST_SIZE = {kind: _SIZE.format(rows=rows) for kind, rows in _KINDS.items()}

FIND = f"SELECT body FROM events WHERE world_id = $1 AND id = $2 AND {_SHOWN}"
SIZE = f"SELECT octet_length(body) FROM events WHERE world_id = $1 AND id = $2 AND {_SHOWN}"

LAST_POSITION = "SELECT coalesce((SELECT last FROM event_positions WHERE world_id = $1), 0)"

# $2: the position after which the stream continues; $3: the types, NULL for all; $4: the most events to look
# at; $5: as many bytes are read, and one body at most beyond them.
READ_STREAM = f"""
SELECT position, body FROM (
    SELECT s.position, s.body, sum(coalesce(octet_length(body), 0)) OVER (ORDER BY position)
        - coalesce(octet_length(body), 0) AS bytes_before
    FROM (
        SELECT position,
            CASE WHEN ($3::text[] IS NULL OR type = ANY($3)) AND {_SHOWN} THEN body END AS body
        FROM events WHERE world_id = $1 AND position > $2 ORDER BY position LIMIT $4
    ) s
) q WHERE bytes_before < $5 ORDER BY position
"""


async def list_page(connection: Connection, world_id: int, asked: PageWindow, only: Filter) -> list[EventRow]:
    """Rows of one page, plus one row that tells whether more follow, if their bodies fit into a page."""
    return await fetch_rows(connection, EventRow, LIST[only.kind(asked)], world_id, *only.arguments(asked))


async def list_size(connection: Connection, world_id: int, asked: PageWindow, only: Filter) -> int:
    """The bytes of all bodies of one page."""
    return await fetch_only_value(
        connection, int, LIST_SIZE[only.kind(asked)], world_id, *only.arguments(asked)
    )


async def find(connection: Connection, world_id: int, event_id: str) -> bytes | None:
    """The body of an event; None if there is no such event."""
    return await fetch_value(connection, bytes, FIND, world_id, event_id)


async def size(connection: Connection, world_id: int, event_id: str) -> int:
    """The bytes of the body of an event; 0 if there is no such event."""
    return await fetch_value(connection, int, SIZE, world_id, event_id) or 0


async def last_position(connection: Connection, world_id: int) -> int:
    """The position of the world's newest placed event; 0 if there is none."""
    return await fetch_only_value(connection, int, LAST_POSITION, world_id)


async def read_stream(
    connection: Connection, world_id: int, after: int, types: list[str] | None, limit: int, most_bytes: int
) -> list[StreamedRow]:
    """The next events of a stream, in order."""
    return await fetch_rows(connection, StreamedRow, READ_STREAM, world_id, after, types, limit, most_bytes)
