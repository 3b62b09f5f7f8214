"""Large answers of one project are made one at a time; small ones and other projects do not wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest

from lapel.foundation.core.errors import Conflict
from lapel.foundation.http.authorization import Access
from lapel.foundation.http.calls import Call, Content, NoBody, Reply, StoredCall
from lapel.foundation.http.input.pagination import PageQuery
from lapel.foundation.http.large_responses import LargeAnswers
from lapel.foundation.http.routes import Routes
from lapel.foundation.ports import Ports
from lapel.hosting.connections.connection_limits import HttpLimits
from lapel.hosting.listener import serve
from lapel.hosting.sockets import listen
from tests.support.api import api_of
from tests.support.patience import LONG, patience
from tests.support.tenants import Tenant

KIB = 1 << 10
BOOKS = Routes("", read=Access("recordings:read"), write=Access("recordings:write"))


class Book(msgspec.Struct):
    """A row of the list, or an answer that is no list."""

    text: str


class BookPage(msgspec.Struct):
    """A page of a list."""

    data: list[Book]


class Library:
    """Operations whose rows have `row_bytes`. A page is made while `open` is set."""

    def __init__(self) -> None:
        self.row_bytes = 2 * KIB
        self.open = asyncio.Event()
        self.open.set()
        self.making: list[int] = []
        self.made = 0
        self.fails = False

    async def list(self, call: Call[PageQuery, NoBody]) -> BookPage:
        """A page of as many rows as asked for."""
        await self._make(call.actor.world_id)
        return BookPage([Book("x" * self.row_bytes)] * call.query.limit)

    async def export(self, call: Call[Any, NoBody]) -> Reply[Content]:
        """A file."""
        await self._make(call.actor.world_id)
        return Reply(b"x" * 64 * KIB, headers=(("Content-Type", "text/plain"),))

    async def size_of_export(self, _call: Call[Any, NoBody]) -> int:
        """Of a file."""
        return 64 * KIB

    async def create(self, _call: StoredCall[Any, NoBody]) -> Book:
        """A small answer."""
        return Book("")

    async def renew(self, call: Call[Any, NoBody], _stored: Book) -> Book:
        """The answer to a repeat, which has grown."""
        await self._make(call.actor.world_id)
        return Book("x" * 64 * KIB)

    async def _make(self, world_id: int) -> None:
        self.making.append(world_id)
        try:
            await self.open.wait()
            if self.fails:
                raise Conflict("It fails.")
        finally:
            self.making.remove(world_id)
        self.made += 1

    async def until_making(self, *worlds: int) -> None:
        """Until exactly these answers are being made, and no other one begins."""
        async with patience(10):
            while sorted(self.making) != sorted(worlds):  # noqa: ASYNC110 - the list of this library
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        assert sorted(self.making) == sorted(worlds)


class Served:
    """The library on a real socket."""

    def __init__(self, library: Library, client: httpx.AsyncClient, large: LargeAnswers) -> None:
        self.library, self.client, self.large = library, client, large

    async def get(self, headers: dict[str, str], limit: int) -> httpx.Response:
        """A page of the list."""
        return await self.client.get(f"/v1/books?limit={limit}", headers=headers)

    async def expect_large(self, *headers: dict[str, str]) -> None:
        """Let a large page be made for each of these."""
        for each in headers:
            assert (await self.get(each, 100)).status_code == 200


@asynccontextmanager
async def served(ports: Ports, monkeypatch: pytest.MonkeyPatch, window: float = 5) -> AsyncGenerator[Served]:
    library, large = Library(), LargeAnswers(window=window)
    api = api_of(
        ports,
        [
            BOOKS.get("/v1/books", "list_books", BookPage, PageQuery).plain("", library.list),
            BOOKS.get("/v1/books/export", "export_books").content(
                "", library.export, answer="file", sized=library.size_of_export
            ),
            BOOKS.post("/v1/books", "create_book", Book).stored("", library.create, replay=library.renew),
        ],
        body_limit=1000,
    )
    monkeypatch.setattr(api, "_large", large)
    sockets = listen("127.0.0.1", 0)
    stop, ready = asyncio.Event(), asyncio.Event()
    limits = HttpLimits(60, 60, 1 << 16, lambda: "req")
    serving = asyncio.create_task(serve(api, sockets, limits, stop, ready=ready.set, drain=0.1))
    await ready.wait()
    url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    try:
        async with httpx.AsyncClient(base_url=url, timeout=LONG) as client:
            yield Served(library, client, large)
    finally:
        library.open.set()
        stop.set()
        await serving


async def test_a_project_makes_one_at_a_time_and_nobody_else_waits(
    ports: Ports, tenant: Tenant, stranger: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(ports, monkeypatch) as made, asyncio.TaskGroup() as tasks:
        library = made.library
        await made.expect_large(tenant.headers, tenant.live_headers, stranger.headers)
        library.open.clear()
        own = [tasks.create_task(made.get(tenant.headers, 100)) for _ in range(4)]
        await library.until_making(tenant.test_world)
        own.append(tasks.create_task(made.get(tenant.live_headers, 100)))
        await library.until_making(tenant.test_world)  # both worlds have the turns of their project
        others = [tasks.create_task(made.get(stranger.headers, 100)) for _ in range(2)]
        await library.until_making(tenant.test_world, stranger.test_world)
        small = [tasks.create_task(made.get(each, 3)) for each in (tenant.headers, stranger.headers)]
        await library.until_making(*[tenant.test_world, stranger.test_world] * 2)
        library.open.set()
        answers = await asyncio.gather(*own, *others, *small)
    assert [each.status_code for each in answers] == [200] * 9
    assert [len(each.json()["data"]) for each in answers] == [100] * 7 + [3] * 2


async def test_an_error_lets_the_next_one_be_made(
    ports: Ports, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(ports, monkeypatch) as made:
        await made.expect_large(tenant.headers)
        made.library.fails = True
        assert (await made.get(tenant.headers, 100)).status_code == 409
        made.library.fails = False
        assert (await made.get(tenant.headers, 100)).status_code == 200


async def test_requests_that_are_cancelled_while_they_make_or_wait_let_the_next_one_be_made(
    ports: Ports, tenant: Tenant
) -> None:
    library = Library()
    operation = BOOKS.get("/v1/books", "list_books", BookPage, PageQuery).plain("", library.list)
    api = api_of(ports, [operation], body_limit=1000)
    transport = httpx.ASGITransport(api)  # cancels the request itself
    async with httpx.AsyncClient(
        transport=transport, base_url="http://api", headers=tenant.headers
    ) as client:
        path = "/v1/books?limit=100"
        assert (await client.get(path)).status_code == 200
        library.open.clear()
        making = asyncio.create_task(client.get(path))
        await library.until_making(tenant.test_world)
        waiting = [asyncio.create_task(client.get(path)) for _ in range(3)]
        await library.until_making(tenant.test_world)
        for each in (waiting[0], making, waiting[1]):
            each.cancel()
        await asyncio.wait([making, *waiting[:2]])
        await library.until_making(tenant.test_world)
        library.open.set()
        assert (await waiting[2]).status_code == 200
        assert library.made == 2
        assert (await client.get(path)).status_code == 200


async def test_a_turn_that_does_not_come_in_time_is_503_and_gives_its_room_back(
    ports: Ports, tenant: Tenant, stranger: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(ports, monkeypatch, window=0.1) as made:
        await made.expect_large(tenant.headers)
        made.library.open.clear()
        first = asyncio.create_task(made.get(tenant.headers, 100))
        await made.library.until_making(tenant.test_world)
        refused = await asyncio.gather(*(made.get(tenant.headers, 100) for _ in range(5)))
        assert {each.status_code for each in refused} == {503}
        assert {each.json()["error"]["code"] for each in refused} == {"unavailable"}
        assert all("retry-after" in each.headers for each in refused)
        made.library.open.set()
        assert (await first).status_code == 200
        # The whole room of two worlds is free again.
        async with (
            made.large.room({}, tenant.test_world, 64 << 20, made=True),
            made.large.room({}, stranger.test_world, 64 << 20, made=True),
        ):
            pass


async def test_small_pages_between_large_ones_do_not_undo_what_was_learned(
    ports: Ports, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(ports, monkeypatch) as made, asyncio.TaskGroup() as tasks:
        await made.expect_large(tenant.headers)
        for limit in (1, 2, 3):
            assert (await made.get(tenant.headers, limit)).status_code == 200
        made.library.row_bytes = 10
        assert (await made.get(tenant.headers, 100)).status_code == 200
        made.library.open.clear()
        for _ in range(3):
            tasks.create_task(made.get(tenant.headers, 100))
        await made.library.until_making(tenant.test_world)
        made.library.open.set()


async def test_pages_that_became_small_take_no_turns_in_the_end(
    ports: Ports, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(ports, monkeypatch) as made, asyncio.TaskGroup() as tasks:
        await made.expect_large(tenant.headers)
        made.library.row_bytes = 10
        for _ in range(40):
            assert (await made.get(tenant.headers, 100)).status_code == 200
        made.library.open.clear()
        for _ in range(3):
            tasks.create_task(made.get(tenant.headers, 100))
        await made.library.until_making(*[tenant.test_world] * 3)
        made.library.open.set()


async def test_repeats_whose_renewed_answers_are_large_take_turns(
    ports: Ports, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(ports, monkeypatch) as made, asyncio.TaskGroup() as tasks:

        async def create(key: str) -> httpx.Response:
            headers = tenant.headers | {"Idempotency-Key": key}
            return await made.client.post("/v1/books", headers=headers)

        keys = ("one", "two", "three")
        for each in keys:
            assert (await create(each)).json() == {"text": ""}
        assert len((await create(keys[0])).content) > 64 * KIB
        made.library.open.clear()
        repeats = [tasks.create_task(create(each)) for each in keys]
        await made.library.until_making(tenant.test_world)
        made.library.open.set()
        answers = await asyncio.gather(*repeats)
    assert {each.headers["idempotent-replayed"] for each in answers} == {"true"}
    assert {len(each.json()["text"]) for each in answers} == {64 * KIB}


async def test_exports_are_made_beside_each_other_and_beside_a_large_page(
    ports: Ports, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(ports, monkeypatch) as made, asyncio.TaskGroup() as tasks:
        await made.expect_large(tenant.headers)
        made.library.open.clear()
        page = tasks.create_task(made.get(tenant.headers, 100))
        path = "/v1/books/export"
        exports = [tasks.create_task(made.client.get(path, headers=tenant.headers)) for _ in range(2)]
        await made.library.until_making(*[tenant.test_world] * 3)
        made.library.open.set()
        answers = await asyncio.gather(page, *exports)
    assert [each.status_code for each in answers] == [200] * 3
