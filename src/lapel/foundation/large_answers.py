"""Answers that are large: made once there is room for them, sent in pieces, within a budget of bytes.

A body counts from before it is made until its reader has taken it. While others wait for room, a reader must
take it at the least rate, and the whole of it within a minute, or is cut off.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from lapel.foundation.admission import Admission, NoRoom, TooSlow
from lapel.foundation.asgi import HANG_UP, ClientGone
from lapel.foundation.errors import Unavailable
from lapel.settings import MIB

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lapel.foundation.admission import Place
    from lapel.foundation.asgi import Scope, Send

PIECE = 256 * 1024
"""Bytes that are handed to the connection at once; a longer body is a large one."""

_TOTAL = 128 * MIB
_OF_ONE_WORLD = 64 * MIB
# As the row came, as it is read, as it is encoded.
_WHILE_MADE = 3
_WITHIN_SECONDS = 60.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class LargeAnswers:
    """The room for them in this process."""

    def __init__(self, *, least_rate: float = 64 * 1024, window: float = 5.0) -> None:
        """`least_rate`: bytes a second; it is measured over `window` seconds, while others wait."""
        self._least_rate = least_rate
        self._admission = Admission(_TOTAL, _OF_ONE_WORLD, patience=window * 1.6, window=window)

    @asynccontextmanager
    async def room(self, scope: Scope, world_id: int, size: int, *, made: bool) -> AsyncGenerator[Place]:
        """Room for a body of about `size` bytes; for more while it is not `made` yet.

        Raises Unavailable; and ClientGone for a reader that is cut off, whose connection is ended.
        """
        try:
            async with self._admission.hold(world_id, size if made else size * _WHILE_MADE) as place:
                yield place
        except NoRoom:
            raise Unavailable(
                "Many large answers are being read at once. Repeat the request.", retry_after=2
            ) from None
        except TooSlow as error:
            _log.warning("answer.cut_off", world_id=world_id, size=size)
            if HANG_UP in scope:
                scope[HANG_UP]()
            raise ClientGone from error

    async def send(self, send: Send, body: bytes, place: Place) -> None:
        """Send a body in its room, no faster than it is read."""
        self._admission.shrink(place, len(body))
        taken = 0
        place.least_rate = max(self._least_rate, len(body) / _WITHIN_SECONDS)
        place.moved = lambda: taken
        for start in range(0, len(body), PIECE):
            piece = body[start : start + PIECE]
            await send({"type": "http.response.body", "body": piece, "more_body": start + PIECE < len(body)})
            taken = start
