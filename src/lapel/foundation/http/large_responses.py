"""Large answers: they wait for room in a budget of bytes, are then made in turns, and are sent in pieces.

A project makes one of them at a time, because what makes it keeps the process and the database from all small
requests: these then wait for a part of one large answer, however many clients read such answers. Exports take
no turns here. They are made while they are sent: few of them find room, or threads make them.

A body counts from before it is made until the client has read it. A body that is made while it is sent counts
with the bytes that are in memory at one time. While other requests wait for room, a client is disconnected if
it reads slower than the least rate. It is also disconnected if it would need more than a minute for a body
that was complete before sending began.
"""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from lapel.foundation.core.admission import Admission, NoRoom, TooSlow
from lapel.foundation.core.asgi import CONNECTION, ClientGone
from lapel.foundation.core.errors import ApiError, Unavailable
from lapel.foundation.database.turns.keyed_turns import KeyedTurns
from lapel.parsers import MIB

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from lapel.foundation.core.admission import Place
    from lapel.foundation.core.asgi import Scope, Send
    from lapel.foundation.http.calls import Content
    from lapel.foundation.http.strategies.exchange import DeferredAnswer, Encoded

PIECE = 256 * 1024
"""The most bytes that are written to the connection at once. A longer body needs room to be sent."""

IN_PIECES = 640 * 1024
"""The size in bytes that an answer counts for if it is made in pieces."""

WHOLE_EXPORT = 8 * MIB
"""The size in bytes that an export of all data of an end user, or of a world's log, counts for.

While an answer is made it counts three times, so in one process there is room for five such exports, and for
two of one world. The export of an end user has three ranges of so many bytes in memory: one is read, one
copied, one sent. The export of a log needs less memory, but as much of the process's time.
"""

_TOTAL = 128 * MIB
_OF_ONE_WORLD = 64 * MIB
# Three copies: the row from the database, the decoded row, the encoded answer.
_WHILE_MADE = 3
_WITHIN_SECONDS = 60.0
_TOO_MANY = "Many large answers are being read at once. Repeat the request."

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def is_large(body: Content) -> bool:
    """Whether a body needs room to be sent."""
    return not isinstance(body, bytes) or len(body) > PIECE


def room_of(body: Content) -> int:
    """The bytes that a body counts for."""
    return len(body) if isinstance(body, bytes) else IN_PIECES * _WHILE_MADE


class LargeAnswers:
    """The room for large answers in this process."""

    def __init__(self, *, least_rate: float = 64 * 1024, window: float = 5.0) -> None:
        """`least_rate`: bytes a second; it is measured over `window` seconds, while others wait."""
        self._least_rate = least_rate
        self._admission = Admission(_TOTAL, _OF_ONE_WORLD, patience=window * 1.6, window=window)
        self._making = KeyedTurns(window * 1.6, _TOO_MANY)

    @asynccontextmanager
    async def room(self, scope: Scope, world_id: int, size: int, *, made: bool) -> AsyncGenerator[Place]:
        """Room for a body of about `size` bytes, or for three times `size` if the body is not `made` yet.

        Raises Unavailable when no room becomes free in time, and ClientGone when the client was disconnected
        because it reads too slowly.
        """
        try:
            async with self._admission.place(world_id, size if made else size * _WHILE_MADE) as place:
                yield place
        except NoRoom:
            raise Unavailable(_TOO_MANY, retry_after=2) from None
        except TooSlow as error:
            _log.warning("answer.cut_off", world_id=world_id, size=size)
            _hang_up(scope)
            raise ClientGone from error

    async def make(self, project_id: str, answer: DeferredAnswer) -> Encoded:
        """Make an answer; if `in_turn`, when no other one of the project is being made.

        Call it with room for the answer. Raises Unavailable when the turn does not come in time, and what
        making raises.
        """
        if not answer.in_turn:
            return await answer.make()
        await self._making.enter(project_id)
        try:
            return await answer.make()
        finally:
            self._making.leave(project_id)

    async def send(self, scope: Scope, send: Send, body: Content, place: Place) -> None:
        """Send a body for which `place` is the room, no faster than the client reads.

        Raises ClientGone when the client has disconnected, or an error broke the body off.
        """
        if not isinstance(body, bytes):
            await self._send_pieces(scope, send, body, place)
            return
        self._admission.shrink(place, len(body))
        taken = 0
        place.least_rate = max(self._least_rate, len(body) / _WITHIN_SECONDS)
        place.moved = lambda: taken
        for start in range(0, len(body), PIECE):
            piece = body[start : start + PIECE]
            await send({"type": "http.response.body", "body": piece, "more_body": start + PIECE < len(body)})
            taken = start

    async def _send_pieces(self, scope: Scope, send: Send, body: AsyncGenerator[bytes], place: Place) -> None:
        """Make and send one piece after the other, until the end or until the client disconnects."""
        taken, sending = 0, False
        place.least_rate = self._least_rate
        # While a piece is made, the pause is not the client's fault.
        place.moved = lambda: taken if sending else None
        async with aclosing(body):
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            try:
                async for piece in body:
                    if CONNECTION in scope and scope[CONNECTION].is_gone(scope):
                        raise ClientGone
                    sending = True
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    taken, sending = taken + len(piece), False
            except ApiError as error:  # too late for an error answer: the body stays without its end
                _log.warning("answer.broken_off", world_id=place.world_id, code=error.code)
                _hang_up(scope)
                raise ClientGone from error
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def pieces_while_admitted(
    pieces: AsyncGenerator[bytes], check: Callable[[], Awaitable[None]]
) -> AsyncGenerator[bytes]:
    """The same pieces, each after a check that raises an ApiError when the caller's token no longer admits
    it: a slow client reads for hours, and the later pieces tell what happened after the token's end."""
    async with aclosing(pieces):
        async for piece in pieces:
            await check()
            yield piece


def _hang_up(scope: Scope) -> None:
    if CONNECTION in scope:
        scope[CONNECTION].hang_up(scope)
