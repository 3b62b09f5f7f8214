"""Bounds how many answers a receiver may send to one request, and how large their heads may be.

An answer may follow any number of interim ones (1xx, RFC 9110, section 15.2), which aiohttp reads and drops.
A few connections that are full of them keep the event loop busy for seconds. aiohttp also reads answers that
come while a connection is idle, and takes the first of them for the answer to the next request. It limits the
length of each line of a head, but not their number.

aiohttp has neither a setting nor a public hook for this: `GuardedConnector` replaces the class that aiohttp
makes for each connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
from aiohttp.client_proto import ResponseHandler

if TYPE_CHECKING:
    import asyncio

    from aiohttp.http import RawResponseMessage
    from aiohttp.streams import StreamReader

MOST_INTERIM = 20
# Of all heads together, the interim ones too. A piece more is read, because data is parsed in pieces.
MOST_HEAD_BYTES = 64 * 1024
_SWITCHED = 101
# Bytes that are parsed at once.
_PIECE = 4096


class TooManyAnswers(aiohttp.ClientConnectionError):
    """A receiver sent more interim answers than are read. The connection is closed."""


class HeadTooLarge(aiohttp.ClientConnectionError):
    """A receiver sent too many bytes before its answer began. The connection is closed."""


class BoundedAnswers(ResponseHandler):
    """The client's end of a connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._interim = 0
        self._head_bytes = 0
        self._expected = False
        self._used = False

    def expect(self) -> bool:
        """A request follows: read one answer, after at most `MOST_INTERIM` interim ones.

        Returns whether there was a request before.
        """
        used, self._used = self._used, True
        self._interim = 0
        self._head_bytes = 0
        self._expected = True
        return used

    def data_received(self, data: bytes) -> None:
        """Parse what came, some at a time: aiohttp parses all that it is given before it calls `feed_data`.
        Nothing is parsed after a fault. Without data, aiohttp goes on with what it has not parsed yet."""
        for begin in range(0, len(data) or 1, _PIECE):
            if self.exception() is None:
                piece = data[begin : begin + _PIECE]
                super().data_received(piece)
                self._count_head(len(piece))

    def _count_head(self, received: int) -> None:
        """Close the connection when an answer has not begun after so many bytes."""
        if not self._expected or self.exception() is not None:
            return
        self._head_bytes += received
        if self._head_bytes > MOST_HEAD_BYTES:
            self._refuse(
                HeadTooLarge(f"more than {MOST_HEAD_BYTES // 1024} KiB of headers came before the answer")
            )

    def _refuse(self, fault: aiohttp.ClientConnectionError) -> None:
        self._expected = False
        self.set_exception(fault)
        if self.transport is not None:
            self.transport.abort()

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take the next answer, or close the connection. aiohttp calls this with the head of each answer."""
        interim = 100 <= data[0].code < 200 and data[0].code != _SWITCHED
        if self._expected and (not interim or self._interim < MOST_INTERIM):
            self._interim += 1
            self._expected = interim
            super().feed_data(data, size)
        elif self.transport is not None:
            self._refuse(
                TooManyAnswers(f"more than {MOST_INTERIM} interim answers (1xx) came before the answer")
            )
