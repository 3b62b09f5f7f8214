"""What a busy project does beside a quiet one, for `benchmarks.neighbours`. Clients have their own processes.

The searches and questions are texts of random words: no two are alike, and nothing remembers them.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass

import aiohttp

from benchmarks.busy import busy
from benchmarks.publication import Staged

CLIENTS = 64
EXPORTS = 16
LISTERS = 16
WRITERS = 8
# Writes a second of the writers together: the default limit of a world's requests, which it may reach in ten
# seconds of each minute.
WRITES = 100
MOST_WEBHOOKS = 1000
_LONG = 990  # characters


@dataclass(frozen=True, slots=True)
class World:
    """A key of the busy project, an end user of its world, and a URL that receives webhooks."""

    base_url: str
    key: str
    end_user: str
    receiver: str

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[aiohttp.ClientSession]:
        """Calls with the key, on as many connections as are wanted."""
        headers = {"Authorization": f"Bearer {self.key}"}
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(self.base_url, headers=headers, connector=connector) as session:
            yield session


_Call = Callable[[aiohttp.ClientSession, World], Awaitable[object]]


def _words() -> str:
    chosen = random.choices("abcdefghijklmnop", k=_LONG)
    for at in range(5, _LONG, random.randint(4, 9)):
        chosen[at] = " "
    return "".join(chosen)


async def _post(session: aiohttp.ClientSession, path: str, body: object) -> int:
    async with session.post(path, json=body) as answer:
        await answer.read()
        return answer.status


async def _read(session: aiohttp.ClientSession, path: str) -> None:
    async with session.get(path) as answer:
        async for _ in answer.content.iter_chunked(1 << 16):
            pass


async def _search(session: aiohttp.ClientSession, world: World) -> None:
    await _post(session, "/v1/recordings/search", {"query": _words(), "end_user_id": world.end_user})


async def _ask(session: aiohttp.ClientSession, world: World) -> None:
    first = {"content": _words()}
    body = {"scope": {"type": "library"}, "end_user_id": world.end_user, "initial_message": first}
    await _post(session, "/v1/ask/sessions", body)


async def _write(session: aiohttp.ClientSession, world: World) -> None:
    await _post(session, "/v1/recordings", {"end_user_id": world.end_user})


async def _export(session: aiohttp.ClientSession, _: World) -> None:
    await _read(session, "/v1/audit-log/export")


async def _list(session: aiohttp.ClientSession, _: World) -> None:
    await _read(session, "/v1/recordings?limit=100")
    await _read(session, "/v1/audit-log?limit=100")


async def _hook(session: aiohttp.ClientSession, world: World) -> None:
    """As many webhooks for all events as the server takes."""
    for number in range(MOST_WEBHOOKS):
        body = {"url": f"{world.receiver}/{number}", "events": ["*"]}
        if await _post(session, "/v1/webhooks", body) != 201:
            return


async def _flood(world: World, call: _Call, clients: int, first: _Call | None, pause: float) -> None:
    async with world.session() as session:
        if first is not None:
            await first(session, world)
        loop = asyncio.get_running_loop()
        due = loop.time()

        async def repeat() -> None:
            nonlocal due
            while True:
                due = max(due + pause, loop.time())
                await asyncio.sleep(due - loop.time())
                try:
                    await call(session, world)
                except (aiohttp.ClientError, TimeoutError):
                    await asyncio.sleep(0.1)  # a connection that ended

        await asyncio.gather(*(repeat() for _ in range(clients)))


def _run(world: World, call: _Call, clients: int, first: _Call | None, pause: float) -> None:
    asyncio.run(_flood(world, call, clients, first, pause))


@contextmanager
def flood(
    worlds: list[World], call: _Call, clients: int, first: _Call | None = None, *, pause: float = 0.0
) -> Generator[None]:
    """During the block, so many clients in each world make this call again and again. `pause`: seconds
    between the beginnings of two calls in a world."""
    spawn = multiprocessing.get_context("spawn")
    running = [spawn.Process(target=_run, args=(each, call, clients, first, pause)) for each in worlds]
    for each in running:
        each.start()
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.join()


@contextmanager
def publications(staged: list[Staged]) -> Generator[None]:
    """Publish these recordings; the block ends earlier or later than they do."""
    for each in staged:
        each.send()
    yield


PARTS = {
    "cores": "programs that use all cores, without Lapel",
    "searches": f"{CLIENTS} clients that search for long texts in both worlds",
    "questions": f"{CLIENTS} long questions at once",
    "webhooks": f"{WRITES} events a second for as many webhooks as it may have (at most {MOST_WEBHOOKS})",
    "publications": "large encrypted publications",
    "exports": f"{EXPORTS} exports of its audit log",
    "lists": f"{LISTERS} clients that read long lists",
}
"""What the quiet project is beside, by the name of this part of the benchmark."""


def disturb(part: str, worlds: list[World], staged: list[Staged]) -> AbstractContextManager[None]:
    """Do one of PARTS during a block. `worlds` of the busy project: test, then live."""
    match part:
        case "cores":
            return busy()
        case "searches":
            return flood(worlds, _search, CLIENTS // 2)
        case "questions":
            return flood(worlds[:1], _ask, CLIENTS)
        case "webhooks":
            return flood(worlds[:1], _write, WRITERS, _hook, pause=1 / WRITES)
        case "publications":
            return publications(staged)
        case "exports":
            return flood(worlds[:1], _export, EXPORTS)
        case "lists":
            return flood(worlds[:1], _list, LISTERS)
        case _:
            raise ValueError(f"there is no part {part!r}; there are {', '.join(PARTS)}")
