"""Summaries of answered requests on their way to the processes that show them: collected, sent in batches.

What does not fit is counted for each tail that misses it. So the memory of a process, and the notifications
that it sends, have a limit whatever the number of requests.

Source: PostgreSQL's documentation of NOTIFY (a payload has less than 8,000 bytes; all listening connections
of a database read one queue).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncpg
import msgspec
import structlog

from lapel.foundation.core.errors import Unavailable
from lapel.slices.logs import queries
from lapel.slices.logs.wire import RequestSummary

if TYPE_CHECKING:
    from lapel.foundation.database.pool import Database

# Of the summaries in one payload; the rest is for the world's number and brackets.
_PAYLOAD_BYTES = 7_900
# The payloads that may wait at one time: of one world, and of all worlds.
_OF_ONE_WORLD = 4
_TOTAL = 16
# Bytes; no summary is longer: a control character of a path or an address is six bytes in JSON, as \u0001.
_LONGEST = 2_000
_TAILS_AT_ONCE = 100

_encode = msgspec.json.Encoder().encode
_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class SummaryBatch(msgspec.Struct, frozen=True):
    """One notification: requests of a world, and how many each tail misses."""

    world: int
    requests: list[RequestSummary] = []
    missed: dict[str, int] = {}


@dataclass(slots=True)
class _Waiting:
    """The summaries of one world, each with the tails that match it, and how many each tail misses."""

    summaries: list[tuple[bytes, Sequence[str]]] = field(default_factory=list[tuple[bytes, "Sequence[str]"]])
    size: int = 0
    missed: Counter[str] = field(default_factory=Counter[str])


class SummaryBatches:
    """Collects summaries, and sends them while there are any. `add` never blocks."""

    def __init__(
        self, database: Database, channel: str, is_open: Callable[[int, str], bool], *, every: float
    ) -> None:
        """`is_open(world id, tail)`: whether the tail is still known. `every`: seconds between batches."""
        self._database = database
        self._channel = channel
        self._is_open = is_open
        self._every = every
        self._waiting: dict[int, _Waiting] = {}
        self._size = 0
        self._sending: asyncio.Task[None] | None = None

    def add(self, world_id: int, tails: Sequence[str], make: Callable[[], RequestSummary]) -> None:
        """Send the summary that `make` returns to these tails, or count it as missed when there is no room.

        A world may use its own limit, but no more than half of the room that the other worlds leave.
        """
        waiting = self._waiting.get(world_id)
        if waiting is None:
            waiting = self._waiting[world_id] = _Waiting()
        of_all = _TOTAL * _PAYLOAD_BYTES - self._size + waiting.size
        if waiting.size + _LONGEST > min(_OF_ONE_WORLD * _PAYLOAD_BYTES, of_all // 2):
            waiting.missed.update(tails)
        else:
            summary = _encode(make())
            waiting.summaries.append((summary, tails))
            waiting.size += len(summary) + 1
            self._size += len(summary) + 1
        if self._sending is None or self._sending.done():
            # Not in the context of the request, whose world would pay for the connection.
            self._sending = asyncio.create_task(self._send(), name="request summaries", context=Context())

    async def _send(self) -> None:
        """Send until nothing waits."""
        while self._waiting:
            await asyncio.sleep(self._every)
            taken, self._waiting, self._size = self._waiting, {}, 0
            try:
                async with self._database.acquire() as connection:
                    await queries.notify_all(connection, self._channel, list(_payloads(taken)))
            except (Unavailable, asyncpg.PostgresError) as error:
                _log.warning("logs.not_sent", error=type(error).__name__)
                self._miss(taken)

    def _miss(self, taken: dict[int, _Waiting]) -> None:
        """Count what could not be sent, for the tails that are still open."""
        for world_id, waiting in taken.items():
            for _, tails in waiting.summaries:
                waiting.missed.update(tails)
            missed = {tail: n for tail, n in waiting.missed.items() if self._is_open(world_id, tail)}
            if missed:
                self._waiting.setdefault(world_id, _Waiting()).missed.update(missed)


def _payloads(taken: dict[int, _Waiting]) -> Iterator[bytes]:
    """The notifications of everything that was taken, in order."""
    for world_id, waiting in taken.items():
        batch, size = list[bytes](), 0
        for summary, _ in waiting.summaries:
            if size + len(summary) > _PAYLOAD_BYTES:
                yield _requests(world_id, batch)
                batch, size = [], 0
            batch.append(summary)
            size += len(summary) + 1
        if batch:
            yield _requests(world_id, batch)
        missed = list(waiting.missed.items())
        for at in range(0, len(missed), _TAILS_AT_ONCE):
            yield _encode(SummaryBatch(world_id, missed=dict(missed[at : at + _TAILS_AT_ONCE])))


def _requests(world_id: int, summaries: list[bytes]) -> bytes:
    return b'{"world":%d,"requests":[%b]}' % (world_id, b",".join(summaries))
