"""Reading events by page and by id, and following them as they happen."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.clock import EPOCH
from lapel.foundation.core.errors import Forbidden, InvalidRequest, NotFound
from lapel.foundation.database.listening import woken
from lapel.foundation.database.outbox import POSITIONS_CHANNEL
from lapel.foundation.http.input.pagination import page, window
from lapel.slices.events import queries
from lapel.slices.events.filters import readable_types
from lapel.slices.events.wakes import Wakes
from lapel.slices.events.wire import Event, EventPage
from lapel.slices.webhooks.service import scope_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.http.input.pagination import PageWindow
    from lapel.foundation.ports import Ports
    from lapel.slices.events.wire import EventQuery, StreamQuery

# A quiet stream sends a comment this often, so that proxies keep it open and a client notices a dead server.
HEARTBEAT_SECONDS = 15.0
# Clients wait this long before they connect again.
_RETRY_MS = 2000
# The events that one statement looks at, and the bytes of bodies that it reads.
_BATCH = 500
_BATCH_BYTES = 64 * 1024
_POSITION = re.compile(r"[0-9]{1,18}\Z")

_decode = msgspec.json.Decoder(Event).decode


class Events:
    """The events of a world."""

    def __init__(self, ports: Ports, types: frozenset[str], *, heartbeat: float = HEARTBEAT_SECONDS) -> None:
        """`types`: of all events that Lapel publishes. `heartbeat`: seconds."""
        self._ports = ports
        self._types = types
        self._heartbeat = heartbeat
        self._wakes = Wakes(ports.settings.listen_database_url or ports.database.dsn, POSITIONS_CHANNEL)

    async def list(self, actor: Actor, query: EventQuery) -> EventPage:
        """One page, newest first.

        Raises InvalidRequest for a bad cursor or an unknown type, Forbidden for a type that the key may not
        read, Unavailable while the database is unavailable.
        """
        asked, only = self._asked(actor, query)
        async with self._ports.database.acquire() as connection:
            rows = await queries.list_page(connection, actor.world_id, asked, only)
        data, has_more, next_cursor = page(
            rows, asked, lambda row: _decode(row.body), cut=bool(rows) and rows[-1].followed
        )
        return EventPage(data=data, has_more=has_more, next_cursor=next_cursor)

    async def size_of_list(self, actor: Actor, query: EventQuery) -> int:
        """Approximate size of the page's JSON, in bytes. Raises what `list` raises."""
        asked, only = self._asked(actor, query)
        async with self._ports.database.acquire() as connection:
            size = await queries.list_size(connection, actor.world_id, asked, only)
        return min(size, 2 * 2**20)

    def _asked(self, actor: Actor, query: EventQuery) -> tuple[PageWindow, queries.Filter]:
        asked = window(query, "events")
        if query.created_before is not None and query.created_before <= asked.before_time:
            # No id is smaller than the empty one: the page has only events before this time.
            asked = replace(asked, before_time=query.created_before, before_id="")
        types = readable_types(query.types, self._types, actor.scopes)
        return asked, queries.Filter(query.created_after or EPOCH, query.resource_id, types)

    async def read(self, actor: Actor, event_id: str) -> Event:
        """One event.

        Raises NotFound, Forbidden when the key may not read its type, and Unavailable while the database is
        unavailable.
        """
        async with self._ports.database.acquire() as connection:
            body = await queries.find(connection, actor.world_id, event_id)
        if body is None:
            raise NotFound("There is no event with this id. Events are kept for 90 days.")
        event = _decode(body)
        if scope_of(event.type) not in actor.scopes:
            raise Forbidden(f"To read this event, this key needs `{scope_of(event.type)}`.")
        return event

    async def size(self, actor: Actor, event_id: str) -> int:
        """The size of an event's body, in bytes. Raises Unavailable while the database is unavailable."""
        async with self._ports.database.acquire() as connection:
            return await queries.size(connection, actor.world_id, event_id)

    async def stream(
        self, actor: Actor, query: StreamQuery, last_event_id: str | None
    ) -> AsyncGenerator[bytes]:
        """Events in the order of their positions, as server-sent events, for ever.

        `last_event_id`: the stream continues after this event; it wins over `query.after`. Raises
        InvalidRequest for an unknown type or position, Forbidden for a type that the key may not read,
        Unavailable while the database is unavailable.
        """
        types = readable_types(query.types, self._types, actor.scopes)
        with self._wakes.of(actor.world_id) as wake:
            position = await self._beginning(actor, query.after, last_event_id)
            # The client knows where it is before the first event comes.
            world = f"{actor.project_id} {actor.mode}".encode()
            yield b": world %b\nretry: %d\nid: %d\n\n" % (world, _RETRY_MS, position)
            loop = asyncio.get_running_loop()
            quiet_until = loop.time() + self._heartbeat
            while True:
                wake.clear()
                async with self._ports.database.acquire() as connection:
                    rows = await queries.read_stream(
                        connection, actor.world_id, position, types, _BATCH, _BATCH_BYTES
                    )
                position = rows[-1].position if rows else position
                if found := b"".join(_sent(row.position, row.body) for row in rows if row.body is not None):
                    yield found
                elif loop.time() >= quiet_until:
                    yield b": heartbeat\nid: %d\n\n" % position
                else:
                    if not rows:
                        await woken(wake, quiet_until)
                    continue
                quiet_until = loop.time() + self._heartbeat

    async def _beginning(self, actor: Actor, after: str | None, last_event_id: str | None) -> int:
        async with self._ports.database.acquire() as connection:
            last = await queries.last_position(connection, actor.world_id)
        name, given = ("Last-Event-ID", last_event_id) if last_event_id else ("after", after)
        if not given:
            return last
        if not _POSITION.match(given) or int(given) > last:
            raise InvalidRequest(
                "No event of this stream has this id. Give the `id` of an event that this stream sent, or "
                "leave it out to begin with the next event.",
                param=name,
            )
        return int(given)


def _sent(position: int, body: bytes) -> bytes:
    """One event as a server-sent event. Line breaks of JSON are white space: their kind does not matter."""
    lines = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\ndata: ")
    return b"id: %d\ndata: %b\n\n" % (position, lines)
