"""The tails of this process: what each still has to show, and the connection that hears of new requests."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from contextlib import asynccontextmanager
from contextvars import Context
from typing import TYPE_CHECKING

import asyncpg
import msgspec
import structlog

from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.listening import listen, woken
from lapel.slices.logs import queries
from lapel.slices.logs.known_tails import TailNotice
from lapel.slices.logs.summary_batches import SummaryBatch
from lapel.slices.logs.wire import MissedRequests

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lapel.foundation.database.pool import Database
    from lapel.slices.logs.known_tails import KnownTails
    from lapel.slices.logs.request_filter import RequestFilter
    from lapel.slices.logs.wire import RequestSummary

TAILS_CHANNEL = "lapel_tails"
REQUESTS_CHANNEL = "lapel_requests"
# The bytes of summaries that wait for a client that reads slowly.
_WAITING_BYTES = 128 * 1024
# How often a stream says how many requests it has not shown.
_MISSED_EVERY_SECONDS = 1.0
_LISTEN_SECONDS = 5.0
_HEARTBEAT = b": heartbeat\n\n"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(SummaryBatch).decode
_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class OpenTail:
    """One stream of a world's requests."""

    def __init__(self, world_id: int, only: RequestFilter, own_request: str | None) -> None:
        """`own_request`: the id of the request that the stream answers; it is not shown."""
        self.notice = TailNotice(secrets.token_hex(8), world_id, only)
        self.lost = False
        self._own_request = own_request
        self._wake = asyncio.Event()
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._missed = 0
        self._tell_missed_at = 0.0

    def show(self, request: RequestSummary, piece: bytes) -> None:
        """Show a request if it matches the filter. `piece`: the request as a server-sent event."""
        if request.request_id == self._own_request or not self.notice.filter.matches(request):
            return
        if self._size + len(piece) > _WAITING_BYTES:
            self.miss(1)
            return
        self._pieces.append(piece)
        self._size += len(piece)
        self._wake.set()

    def miss(self, count: int) -> None:
        """Count requests that are not shown."""
        self._missed += count
        self._wake.set()

    def end(self) -> None:
        """End the stream, because an unknown number of requests is missing."""
        self.lost = True
        self._wake.set()

    async def next(self, patience: float) -> bytes:
        """What the client gets next: requests, a count of missed ones, or a comment after `patience` seconds.

        Raises Unavailable when requests were lost.
        """
        loop = asyncio.get_running_loop()
        quiet_until = loop.time() + patience
        while True:
            self._wake.clear()
            if self.lost:
                raise Unavailable("The connection to the database broke. Connect again.")
            now = loop.time()
            found = b"".join(self._pieces)
            self._pieces.clear()
            self._size = 0
            if self._missed and now >= self._tell_missed_at:
                found += b"event: missed\ndata: %b\n\n" % _encode(MissedRequests(count=self._missed))
                self._missed, self._tell_missed_at = 0, now + _MISSED_EVERY_SECONDS
            if found or now >= quiet_until:
                return found or _HEARTBEAT
            await woken(self._wake, min(quiet_until, self._tell_missed_at) if self._missed else quiet_until)


class OpenTails:
    """The open tails of this process. While there are any, one connection listens for all of them, and the
    other processes are told of them again and again."""

    def __init__(
        self, database: Database, listen_dsn: str, known: KnownTails, *, announce_every: float
    ) -> None:
        """`announce_every`: seconds."""
        self._database = database
        self._listen_dsn = listen_dsn
        self._known = known
        self._announce_every = announce_every
        self._open: dict[str, OpenTail] = {}
        self._ended: list[TailNotice] = []
        self._changed = asyncio.Event()
        self._listens = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None
        self._announcing: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def tail(
        self, world_id: int, only: RequestFilter, own_request: str | None
    ) -> AsyncGenerator[OpenTail]:
        """A tail during the block: every process knows of it when the block begins, or a moment later.

        Raises Unavailable when the database is unavailable.
        """
        tail = OpenTail(world_id, only, own_request)
        self._open[tail.notice.tail] = tail
        self._known.add_own(tail.notice)
        try:
            await self._listen()
            await self._announce([tail.notice])
            if self._announcing is None or self._announcing.done():
                self._announcing = asyncio.create_task(
                    self._keep_announcing(), name="tails", context=Context()
                )
            yield tail
        finally:
            self._close(tail)

    def repeat(self) -> None:
        """Announce the tails now, because a process began to listen."""
        self._changed.set()

    def _close(self, tail: OpenTail) -> None:
        del self._open[tail.notice.tail]
        self._known.drop(tail.notice.world, tail.notice.tail)
        if self._announcing is not None and not self._announcing.done():
            self._ended.append(msgspec.structs.replace(tail.notice, ended=True))
            self._changed.set()
        if not self._open and self._listening is not None:
            self._listening.cancel()
            self._listening = None
            self._listens.clear()

    async def _listen(self) -> None:
        """Wait until the connection listens. Raises Unavailable when it does not in time."""
        if self._listening is None or self._listening.done():
            self._listening = asyncio.create_task(
                listen(self._listen_dsn, REQUESTS_CHANNEL, self._hear), name="request log", context=Context()
            )
        try:
            async with asyncio.timeout(_LISTEN_SECONDS):
                await self._listens.wait()
        except TimeoutError:
            raise Unavailable("The database does not answer. Connect again.", retry_after=2) from None

    def _hear(self, payload: str) -> None:
        """Hand a batch to the tails of its world. An empty payload is a new connection: what was sent before
        it is lost."""
        if not payload:
            if self._listens.is_set():
                self._end_all()
            self._listens.set()
            return
        try:
            batch = _decode(payload)
        except msgspec.DecodeError:  # of another version
            return
        tails = [each for each in self._open.values() if each.notice.world == batch.world]
        for request in batch.requests:
            piece = b"data: %b\n\n" % _encode(request)
            for tail in tails:
                tail.show(request, piece)
        for tail in tails:
            if missed := batch.missed.get(tail.notice.tail):
                tail.miss(missed)

    def _end_all(self) -> None:
        for each in self._open.values():
            each.end()

    async def _keep_announcing(self) -> None:
        """Announce until no tail is open and the others know of it."""
        loop = asyncio.get_running_loop()
        announced_at, failed = loop.time(), False
        while self._open or self._ended:
            if failed or not self._ended:
                await woken(self._changed, loop.time() + self._announce_every)
            self._changed.clear()
            ended, self._ended = self._ended, []
            try:
                await self._announce([*ended, *(each.notice for each in self._open.values())])
                announced_at, failed = loop.time(), False
            except (Unavailable, asyncpg.PostgresError) as error:
                _log.warning("logs.not_announced", error=type(error).__name__)
                failed = True
                if loop.time() > announced_at + self._known.lives:  # other processes have forgotten them
                    self._end_all()
                else:
                    self._ended = [*ended, *self._ended]

    async def _announce(self, notices: list[TailNotice]) -> None:
        async with self._database.acquire() as connection:
            await queries.notify_all(connection, TAILS_CHANNEL, [_encode(each) for each in notices])
