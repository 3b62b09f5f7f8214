"""Streams of server-sent events: how many there may be, and how one is sent until it ends.

A stream has one piece in memory at a time, and makes the next one when the client has read this one. It ends
when the client leaves, when the caller's token is revoked, and when the server begins to stop. Then a client
connects again and says where it stopped.

Source: "Server-sent events", HTML Living Standard (https://html.spec.whatwg.org/multipage/server-sent-events.html).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, TypeVar

import structlog

from lapel.foundation.core.asgi import CONNECTION, ClientConnection, ClientGone
from lapel.foundation.core.errors import ApiError, Forbidden, RateLimitExceeded, Unauthorized, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.core.asgi import Receive, Scope, Send
    from lapel.foundation.http.strategies.exchange import Exchange, StreamedAnswer

_TOTAL = 64
_OF_ONE_WORLD = 16
_OF_ONE_END_USER = 4
_RETRY_SECONDS = 5

Owner = TypeVar("Owner")

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Streams:
    """The open streams of this process."""

    def __init__(
        self,
        *,
        total: int = _TOTAL,
        of_one_world: int = _OF_ONE_WORLD,
        of_one_end_user: int = _OF_ONE_END_USER,
    ) -> None:
        """`total` streams in all, and `of_one_world` of each world, but no more than half of those that the
        other worlds leave. So a few worlds cannot take all. The callers that reach one end user alone have
        `of_one_end_user` of their world's together."""
        self._total = total
        self._of_one_world = of_one_world
        self._of_one_end_user = of_one_end_user
        self._open: Counter[int] = Counter()
        self._of_end_users: Counter[tuple[int, str]] = Counter()

    async def send(
        self,
        answer: StreamedAnswer,
        exchange: Exchange,
        receive: Receive,
        send: Send,
        begin: Callable[[], Awaitable[None]],
    ) -> None:
        """Send an answer's pieces until it ends. `begin` sends the head, after the first piece is made.

        Raises RateLimitExceeded and Unavailable when there are too many streams, what the first piece raises,
        and ClientGone when the client left or an error broke the stream off.
        """
        connection: ClientConnection | None = exchange.scope.get(CONNECTION)
        stopping = asyncio.Event() if connection is None else connection.stopping
        async with aclosing(answer.pieces) as pieces:
            with self._place_of_end_user(exchange.actor), self._place(exchange.actor.world_id):
                if stopping.is_set():
                    raise Unavailable("The server stops. Connect again.", retry_after=1)
                first = await anext(pieces)
                await begin()
                if exchange.scope["method"] != "HEAD":
                    await _until_an_end(
                        _pump(first, pieces, answer.check, exchange.scope, send),
                        _client_left(receive),
                        stopping,
                        exchange.scope,
                    )
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    @contextmanager
    def _place_of_end_user(self, actor: Actor) -> Generator[None]:
        if actor.end_user_id is None:
            yield
            return
        of = (actor.world_id, actor.end_user_id)
        if self._of_end_users[of] >= self._of_one_end_user:
            raise RateLimitExceeded(
                f"An end user may have {self._of_one_end_user} streams open at once, on each process of the "
                "server. Close one, then connect again.",
                headers=(("Retry-After", str(_RETRY_SECONDS)),),
            )
        with _counted(self._of_end_users, of):
            yield

    @contextmanager
    def _place(self, world_id: int) -> Generator[None]:
        if self._open[world_id] >= self._of_one_world:
            raise RateLimitExceeded(
                f"A project may have {self._of_one_world} streams open at once in one world, on each process "
                "of the server. Close one, then connect again.",
                headers=(("Retry-After", str(_RETRY_SECONDS)),),
            )
        free = self._total - self._open.total()
        if self._open[world_id] >= (free + self._open[world_id] + 1) // 2:
            raise Unavailable("The server has too many open streams.", retry_after=_RETRY_SECONDS)
        with _counted(self._open, world_id):
            yield


@contextmanager
def _counted(streams: Counter[Owner], owner: Owner) -> Generator[None]:
    """Counts one more stream of an owner; an owner without streams has no entry."""
    streams[owner] += 1
    try:
        yield
    finally:
        streams[owner] -= 1
        if not streams[owner]:
            del streams[owner]


async def _until_an_end(
    pump: Awaitable[None], left: Awaitable[None], stopping: asyncio.Event, scope: Scope
) -> None:
    """Run the pump until it ends, the client has left or the server stops.

    Raises ClientGone unless the client still reads.
    """
    pumping, leaving = asyncio.ensure_future(pump), asyncio.ensure_future(left)
    ending = asyncio.ensure_future(stopping.wait())
    tasks = (pumping, leaving, ending)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not leaving.cancelled():
        raise ClientGone
    if pumping.cancelled():
        return
    try:
        pumping.result()
    except (Unauthorized, Forbidden):
        _log.info("stream.revoked")
    except ApiError as error:
        _log.warning("stream.broken_off", code=error.code)
        if CONNECTION in scope:
            scope[CONNECTION].hang_up(scope)
        raise ClientGone from error


async def _pump(
    first: bytes,
    pieces: AsyncGenerator[bytes],
    check: Callable[[], Awaitable[None]],
    scope: Scope,
    send: Send,
) -> None:
    await send({"type": "http.response.body", "body": first, "more_body": True})
    async for piece in pieces:
        if CONNECTION in scope and scope[CONNECTION].is_gone(scope):
            raise ClientGone  # sending would drop the pieces without waiting
        await check()
        await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
