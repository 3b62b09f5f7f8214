"""A client of server-sent events, written from the standard alone."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpx

from tests.support.patience import LONG


class Sent(NamedTuple):
    """An event of a stream; `data` is None when only the id or a comment came, `name` is that of its kind."""

    id: str
    data: bytes | None
    name: str = ""


@asynccontextmanager
async def following(
    url: str, headers: dict[str, str], *, stream: str = "/v1/events/stream", **params: str
) -> AsyncGenerator[tuple[httpx.Response, AsyncIterator[Sent]]]:
    """The answer, and its events as they come."""
    async with (
        httpx.AsyncClient(trust_env=False, verify=False, timeout=LONG) as client,
        client.stream("GET", f"{url}{stream}", headers=headers, params=params) as answer,
    ):
        yield answer, received(answer)


async def received(answer: httpx.Response) -> AsyncIterator[Sent]:
    """The events of an answer as they come."""
    event_id, kind, data = "", "", list[str]()
    async for line in answer.aiter_lines():
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            event_id = value
        elif name == "data":
            data.append(value)
        elif name == "event":
            kind = value
        elif not line:
            yield Sent(event_id, "\n".join(data).encode() if data else None, kind)
            kind, data = "", []


async def some(events: AsyncIterator[Sent], count: int) -> list[Sent]:
    """The next `count` events that have data."""
    found: list[Sent] = []
    while len(found) < count:
        sent = await anext(events)
        if sent.data is not None:
            found.append(sent)
    return found
