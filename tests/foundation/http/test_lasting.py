"""Operations whose work is longer than a transaction: claims on keys, answers, streams, and their time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import httpx
import msgspec
import pytest

from lapel.foundation.core.errors import IdempotencyKeyInUse, Unavailable
from lapel.foundation.http.authorization import Access
from lapel.foundation.http.calls import LastingCall, NoQuery, Reply
from lapel.foundation.http.routes import Routes
from lapel.foundation.ports import Ports
from tests.support.api import api_of
from tests.support.tenants import Tenant


class Question(msgspec.Struct):
    text: str


class Said(msgspec.Struct):
    text: str


class Work:
    """A handler that claims the key, works outside of a transaction, and stores the answer."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self.done = 0
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.go.set()
        self.fails = False

    async def __call__(self, call: LastingCall[NoQuery, Question]) -> Reply[Said] | AsyncGenerator[bytes]:
        """The handler."""
        if call.streamed:
            return self._pieces(call)
        return Reply(Said(await self._said(call)))

    async def _pieces(self, call: LastingCall[NoQuery, Question]) -> AsyncGenerator[bytes]:
        yield f"data: {await self._said(call)}\n\n".encode()

    async def _said(self, call: LastingCall[NoQuery, Question]) -> str:
        if call.claim is not None:
            async with self._ports.database.transaction() as connection:
                if (found := await call.claim.find(connection)) is not None:
                    return found.decode()
        self.begun.set()
        await self.go.wait()
        if self.fails:
            raise Unavailable("Not now.")
        self.done += 1
        said = f"{call.body.text} {self.done}"
        if call.claim is not None:
            async with self._ports.database.transaction() as connection:
                await call.claim.hold(connection)
                await call.claim.store(connection, 200, said.encode(), None)
        return said


@pytest.fixture
def work(ports: Ports) -> Work:
    """The handler of the operation."""
    return Work(ports)


def served(ports: Ports, work: Work, answer_timeout: float = 60) -> httpx.AsyncClient:
    """A client of the operation."""
    access = Access("ask:write")
    asked = Routes("", read=access, write=access).post("/v1/work", "work", Said, Question)
    api = api_of(ports, [asked.lasting("", work)], body_limit=1000, answer_timeout=answer_timeout)
    return httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://api", timeout=30)


EVENTS = {"Accept": "text/event-stream"}
KEY = {"Idempotency-Key": "once"}


async def ask(client: httpx.AsyncClient, tenant: Tenant, text: str = "Hm?", **more: str) -> httpx.Response:
    """The answer to a request."""
    return await client.post("/v1/work", json={"text": text}, headers={**tenant.headers, **more})


@pytest.mark.parametrize("accept", [{}, EVENTS], ids=["json", "events"])
async def test_a_repeat_gets_the_stored_answer_and_is_marked(
    ports: Ports, tenant: Tenant, work: Work, accept: dict[str, str]
) -> None:
    async with served(ports, work) as client:
        first = await ask(client, tenant, **KEY, **accept)
        again = await ask(client, tenant, **KEY, **accept)
        other = await ask(client, tenant, "Hm!", **KEY, **accept)
    assert (first.status_code, again.status_code, other.status_code) == (200, 200, 422)
    assert again.content == first.content
    assert "Hm? 1" in again.text
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    assert "idempotent-replayed" not in other.headers
    assert work.done == 1


async def test_without_a_key_every_request_works(ports: Ports, tenant: Tenant, work: Work) -> None:
    async with served(ports, work) as client:
        said = [(await ask(client, tenant)).json()["text"] for _ in range(2)]
        refused = await ask(client, tenant, **{"Idempotency-Key": "no good"})
    assert said == ["Hm? 1", "Hm? 2"]
    assert (refused.status_code, work.done) == (400, 2)


async def test_a_stream_has_its_type_and_its_errors_have_theirs(
    ports: Ports, tenant: Tenant, work: Work
) -> None:
    async with served(ports, work) as client:
        answer = await ask(client, tenant, **EVENTS)
        assert (answer.headers["content-type"], answer.text) == ("text/event-stream", "data: Hm? 1\n\n")
        work.fails = True
        for accept in ({}, EVENTS):
            failed = await ask(client, tenant, **KEY, **accept)
            assert (failed.status_code, failed.headers["content-type"]) == (503, "application/json")
        work.fails = False
        assert (await ask(client, tenant, **KEY)).status_code == 200, "a failure gives the key back"


async def test_no_transaction_holds_the_key_while_it_works(ports: Ports, tenant: Tenant, work: Work) -> None:
    """So the handler itself has to know which work is running for a key."""
    work.go.clear()
    async with served(ports, work) as client:
        first = asyncio.create_task(ask(client, tenant, **KEY))
        await work.begun.wait()
        work.begun.clear()
        second = asyncio.create_task(ask(client, tenant, **KEY))
        await work.begun.wait()
        work.go.set()
        assert [each.status_code for each in await asyncio.gather(first, second)] == [200, 200]


async def test_it_has_ten_times_as_long_as_other_answers(ports: Ports, tenant: Tenant, work: Work) -> None:
    work.go.clear()
    clock = asyncio.get_running_loop()
    async with served(ports, work, answer_timeout=0.05) as client:
        began = clock.time()
        late = await ask(client, tenant)
    assert (late.status_code, late.json()["error"]["code"]) == (503, "unavailable")
    assert clock.time() - began >= 0.5


async def test_a_key_that_is_held_is_refused(ports: Ports, tenant: Tenant, work: Work) -> None:
    async with served(ports, work) as client:
        held, release = asyncio.Event(), asyncio.Event()

        async def hold(call: LastingCall[NoQuery, Question]) -> Reply[Said] | AsyncGenerator[bytes]:
            assert call.claim is not None
            async with ports.database.transaction() as connection:
                if await call.claim.find(connection) is None:
                    held.set()
                    await release.wait()
            return Reply(Said("held"))

        access = Access("ask:write")
        asked = Routes("", read=access, write=access).post("/v1/work", "work", Said, Question)
        api = api_of(ports, [asked.lasting("", hold)], body_limit=1000)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://api") as other:
            holding = asyncio.create_task(ask(other, tenant, **KEY))
            await held.wait()
            refused = await ask(client, tenant, **KEY)
            assert refused.json()["error"]["code"] == IdempotencyKeyInUse.code
            release.set()
            assert (await holding).status_code == 200
    assert work.done == 0
