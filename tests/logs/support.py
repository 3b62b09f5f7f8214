"""What the tests of the request log share."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx

from lapel.foundation.core.actors import Actor
from lapel.foundation.database.pool import Database
from lapel.foundation.http.protocols import AnsweredRequest
from lapel.foundation.identity.key_cache import Revocations
from lapel.slices.logs.open_tails import REQUESTS_CHANNEL, TAILS_CHANNEL
from lapel.slices.logs.service import Logs
from tests.support.event_stream import Sent, following, some
from tests.support.running import Running
from tests.support.tenants import Tenant

STREAM = "/v1/logs/stream"


async def until(holds: Callable[[], object]) -> None:
    """Wait for it."""
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come about")


@dataclass(frozen=True)
class Pair:
    """Two servers on one database. Tails connect to the first, and requests go to the second one."""

    one: Running
    two: Running
    client_of_one: httpx.AsyncClient
    client: httpx.AsyncClient
    tenant: Tenant

    @property
    def logs(self) -> list[Logs]:
        """The request log of each server."""
        return [each.services[Logs] for each in (self.one, self.two)]

    @asynccontextmanager
    async def tail(
        self, only: dict[str, str] | None = None, *, tenant: Tenant | None = None, is_live: bool = False
    ) -> AsyncGenerator[AsyncIterator[Sent]]:
        """A stream of a world's requests, usually of the test's own test world. Both servers know of it."""
        whose = tenant or self.tenant
        world, headers = (
            (whose.live_world, whose.live_headers) if is_live else (whose.test_world, whose.headers)
        )

        def all_know(counts: list[int]) -> bool:
            return [known(each, world) for each in self.logs] == counts

        before = [known(each, world) for each in self.logs]
        async with following(self.one.url, headers, stream=STREAM, **only or {}) as (answer, events):
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["content-type"] == "text/event-stream"
            assert await anext(events) == ("", None, ""), "the client knows that the stream has begun"
            await until(lambda: all_know([count + 1 for count in before]))
            yield events
        await until(lambda: all_know(before))


def known(logs: Logs, world: int) -> int:
    """How many tails of a world a server knows of."""
    followed = logs.followed
    assert isinstance(followed, dict)
    return len(followed.get(world, ()))


async def shown(events: AsyncIterator[Sent], count: int) -> list[dict[str, Any]]:
    """The next requests that a stream shows, without those that began another stream."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        (event,) = await some(events, 1)
        found += [each for each in (json.loads(event.data or b""),) if each["path"] != STREAM]
    return found


def answered(world: int, number: int = 1, **more: Any) -> AnsweredRequest:
    """A request as the request path reports it."""
    actor = Actor(kind="key", id="key_1", world_id=world, project_id="proj_1", mode="test")
    facts: dict[str, Any] = {
        "id": f"req_{number}",
        "actor": actor,
        "method": "GET",
        "path": "/v1/recordings",
        "status": 200,
        "seconds": 0.001,
        "address": "203.0.113.9",
        "error_code": None,
    }
    return AnsweredRequest(**facts | more)


@asynccontextmanager
async def listening(logs: Logs, database: Database) -> AsyncGenerator[Logs]:
    """A request log that hears what the processes announce, as an API process lets it."""
    revocations = Revocations(database)
    revocations.listen_also(Logs.channel, logs.hear)
    await revocations.start()
    yield logs
    await revocations.stop()


@asynccontextmanager
async def overheard(dsn: str) -> AsyncGenerator[list[tuple[str, dict[str, Any]]]]:
    """The announcements and batches that go over the database, as (channel, payload)."""
    heard: list[tuple[str, dict[str, Any]]] = []
    connection = await asyncpg.connect(dsn)

    def hear(_connection: object, _pid: int, channel: str, payload: object) -> None:
        assert len(str(payload).encode()) < 8000
        if payload:  # an empty one: a process began to listen
            heard.append((channel, json.loads(str(payload))))

    try:
        for channel in (TAILS_CHANNEL, REQUESTS_CHANNEL):
            await connection.add_listener(channel, hear)
        yield heard
    finally:
        await connection.close()
