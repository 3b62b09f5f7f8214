"""Calls whose answer is lost at every interesting byte, and then repeated as they were.

LAPEL_LOST_DRAWS says at how many more bytes of each side, drawn at random (`make test-deep`: 8).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import pytest

from tests.lost_answers.proxy import Cut, LosingProxy, Side, losing_proxy
from tests.support.client import api_client, still_runs
from tests.support.patience import patience

Json = dict[str, Any]
T = TypeVar("T")
_TO_BE_REPEATED = {425, 503}
_DRAWS = int(os.environ.get("LAPEL_LOST_DRAWS", "1"))


@dataclass(frozen=True, slots=True)
class Call:
    """One request, to be sent again byte for byte. `url`: a path of the API, or a whole signed link."""

    method: str
    url: str
    headers: Mapping[str, str]
    json: Json | None = None
    content: bytes | None = None


@dataclass(slots=True)
class Losing:
    """A client behind a proxy that loses answers. `cuts`: how many were made."""

    proxy: LosingProxy
    client: httpx.AsyncClient
    cuts: int = 0
    dice: Random = field(default_factory=lambda: Random(7))

    async def send(self, call: Call) -> httpx.Response:
        """Once, on a connection of its own."""
        where = urlsplit(call.url)
        headers = {**call.headers, "Connection": "close"}
        if where.netloc:
            headers["Host"] = where.netloc  # the signature's
        path = where.path + (f"?{where.query}" if where.query else "")
        return await self.client.request(
            call.method, path, headers=headers, json=call.json, content=call.content
        )

    async def insist(self, call: Call) -> httpx.Response:
        """Until the answer is the last word, as devices do."""
        async with patience(60):
            while True:
                answer = await self.send(call)
                if not still_runs(answer) and answer.status_code not in _TO_BE_REPEATED:
                    return answer
                await asyncio.sleep(0.02)

    async def everywhere(
        self,
        make: Callable[[], Awaitable[T]],
        call_of: Callable[[T], Call],
        check: Callable[[T, httpx.Response], Awaitable[None]],
    ) -> None:
        """For every cut: something new to call for, the lost call, its repeat, and `check` of both together.

        `check` comes again at the very end, when the lost calls have certainly ended on the server, too.
        """
        undisturbed = await make()
        answer = await self.send(call_of(undisturbed))
        await check(undisturbed, answer)
        checked = [(undisturbed, answer)]
        for cut in list(self._cuts()):
            subject = await make()
            call = call_of(subject)
            self.proxy.cut_next(cut)
            with pytest.raises(httpx.TransportError):
                await self.send(call)
            self.cuts += 1
            answer = await self.insist(call)
            try:
                await check(subject, answer)
            except AssertionError as fault:
                raise AssertionError(f"after {cut}: {fault}") from fault
            checked.append((subject, answer))
        for subject, answer in checked:
            await check(subject, answer)

    def _cuts(self) -> Iterator[Cut]:
        """Where the connection of a call like the last one can end."""
        for side in ("request", "answer"):
            for number, at in enumerate(self._positions(side)):
                yield Cut(side, at, politely=number % 2 == 0)

    def _positions(self, side: Side) -> list[int]:
        whole = self.proxy.passed[side]
        length, head = len(whole), whole.index(b"\r\n\r\n") + 4
        # The whole request may have arrived; an answer that has arrived whole is not lost.
        last = length if side == "request" else length - 1
        chosen = {0, 1, head // 3, head - 1, head, head + 1, (head + length) // 2, length - 1, last}
        chosen |= {self.dice.randrange(length) for _ in range(_DRAWS)}
        return sorted(at for at in chosen if 0 <= at <= last)


@asynccontextmanager
async def losing(url: str) -> AsyncGenerator[Losing]:
    """A client of the server at `url` that loses what it is told to lose."""
    where = urlsplit(url)
    assert where.hostname is not None
    assert where.port is not None
    async with (
        losing_proxy(where.hostname, where.port) as (proxy, port),
        api_client(f"http://127.0.0.1:{port}") as client,
    ):
        yield Losing(proxy, client)
