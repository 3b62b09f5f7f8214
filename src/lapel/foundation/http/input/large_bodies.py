"""Large JSON bodies: those that arrive slowly wait for room in a budget of bytes.

A client may send most of a body at once and the rest as slowly as the connection allows. Without a budget,
the holder of any token could fill the memory with the bodies of many connections. A body that has arrived
with its head, and the first bytes of every other, need no room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.admission import Admission, NoRoom, TooSlow
from lapel.foundation.core.asgi import ClientGone
from lapel.foundation.core.errors import PayloadTooLarge, Unavailable
from lapel.parsers import KIB, MIB

if TYPE_CHECKING:
    from lapel.foundation.core.asgi import Receive

FIRST = 64 * KIB
"""Bytes of a body that are read without room: as many may wait in its connection."""

_TOTAL = 64 * MIB
_MOST_AT_ONCE = 4  # bodies of the largest size for which there is always room; half of them of one world


class LargeBodies:
    """The room for large bodies in this process."""

    def __init__(self, largest: int, *, least_rate: float = 64 * KIB, window: float = 5.0) -> None:
        """`largest`: the most bytes of a body. `least_rate`: bytes a second; it is measured over `window`
        seconds, while others wait."""
        total = max(_TOTAL, _MOST_AT_ONCE * largest)
        self._least_rate = least_rate
        self._admission = Admission(total, total // 2, patience=window * 1.6, window=window)

    async def collect(self, receive: Receive, world_id: int, *, expected: int, limit: int) -> bytes:
        """The whole body, as its pieces arrive. `expected`: its size, or the most that it may have.

        Raises PayloadTooLarge before it keeps more than `limit` bytes, ClientGone when the client leaves
        before the end, and Unavailable when no room becomes free in time, or when others wait and the client
        is too slow.
        """
        body = _ArrivingBody(receive, limit)
        if not await body.read(FIRST):
            try:
                async with self._admission.place(world_id, expected) as place:
                    place.least_rate, place.moved = self._least_rate, lambda: body.size
                    await body.read(limit)
            except NoRoom:
                raise Unavailable(
                    "Many large bodies are being received at once. Repeat the request.", retry_after=2
                ) from None
            except TooSlow:
                raise Unavailable(
                    f"Other bodies waited, and this one was slower than {self._least_rate:.0f} bytes a "
                    "second. Repeat the request.",
                    retry_after=2,
                ) from None
        return body.whole()


class _ArrivingBody:
    """What has come of one body."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._received = bytearray()  # a list of pieces of one byte would take forty times as much

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return len(self._received)

    async def read(self, size: int) -> bool:
        """Read until more than `size` bytes have come, or to the end. Returns whether it is the end.

        Raises PayloadTooLarge and ClientGone.
        """
        while self.size <= size:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientGone
            piece = message.get("body", b"")
            if self.size + len(piece) > self._limit:
                raise too_large(self._limit)
            self._received += piece
            if not message.get("more_body", False):
                return True
        return False

    def whole(self) -> bytes:
        """All that has come."""
        return bytes(self._received)


def too_large(limit: int) -> PayloadTooLarge:
    """The refusal of a body of more than `limit` bytes."""
    return PayloadTooLarge(f"The body may have at most {limit} bytes.")
