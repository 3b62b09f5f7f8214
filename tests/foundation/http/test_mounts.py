"""Mounted applications: admitted, counted, limited and logged as operations are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest

from lapel.foundation.core.actors import Actor
from lapel.foundation.core.asgi import CALLED, INSIDE, App, Called, Receive, Scope, Send
from lapel.foundation.core.errors import Conflict
from lapel.foundation.http.api import Api
from lapel.foundation.http.authorization import KEYS, Access
from lapel.foundation.http.operations import Endpoint, Mount
from lapel.foundation.http.routes import Routes
from lapel.foundation.ports import Ports
from tests.support.api import api_of
from tests.support.tenants import Tenant, bearer, make_key

Answer = Callable[[Scope, Receive, Send], Awaitable[None]]
JSON = [(b"content-type", b"application/json"), (b"content-length", b"2"), (b"connection", b"keep-alive")]
EVENTS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]


class Told:
    """An application that answers as the test says."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.closed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(scope, receive, send)

    async def close(self) -> None:
        self.closed = True


class Counting:
    """A limiter that refuses nothing."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    async def take(self, actor: Actor, operation: Endpoint) -> tuple[tuple[bytes, bytes], ...]:
        self.taken.append(f"{actor.kind} {operation.name}")
        return ((b"x-ratelimit-limit", b"5"),)

    async def take_known(self, token_hash: bytes) -> None:
        del token_hash

    def forget(self, token_hash: bytes) -> None:
        del token_hash


def mounted(ports: Ports, answer: Answer, **more: Any) -> tuple[Api, Told]:
    told = Told(answer)
    made: list[App] = []

    def make(api: App) -> Told:
        made.append(api)
        return told

    mount = Mount(method="POST", path="/toy", name="toy", access=Access(None), make=make)
    api = api_of(ports, (), body_limit=100, mounts=(mount,), **more)
    assert made == [api], "the application can call the API"
    return api, told


async def ask(api: App, token: str | None, method: str = "POST", content: bytes = b"{}") -> httpx.Response:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    transport = httpx.ASGITransport(api)
    async with httpx.AsyncClient(transport=transport, base_url="http://lapel.test") as client:
        return await client.request(method, "/toy", headers=headers, content=content)


async def test_an_application_gets_the_body_and_the_caller_and_no_header_of_ours_twice(
    ports: Ports, tenant: Tenant
) -> None:
    seen: list[tuple[Called, bytes]] = []

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope[CALLED], (await receive())["body"]))
        await send({"type": "http.response.start", "status": 201, "headers": JSON})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        await send({"type": "http.response.body", "body": b"}"})

    observed: list[tuple[str, int]] = []
    limiter = Counting()
    api, _ = mounted(
        ports,
        answer,
        limiter=limiter,
        observe=lambda each, _, status, *__: observed.append((each.name, status)),
    )
    got = await ask(api, tenant.test_key, content=b'{"a":1}')
    (called, body), *others = seen
    assert (others, body, called.actor.world_id) == ([], b'{"a":1}', tenant.test_world)
    assert (got.status_code, got.content) == (201, b"{}")
    assert sorted(got.headers) == sorted(set(got.headers))
    assert dict(got.headers) == {
        "x-request-id": called.request_id,
        "cache-control": "no-store",
        "x-ratelimit-limit": "5",
        "content-type": "application/json",
        "content-length": "2",
    }
    assert limiter.taken == ["key toy"]
    assert observed == [("toy", 201)]


async def never(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError((scope, receive, send))


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "PUT"])
async def test_another_method_is_405(ports: Ports, tenant: Tenant, method: str) -> None:
    got = await ask(mounted(ports, never)[0], tenant.test_key, method)
    assert (got.status_code, got.headers["allow"]) == (405, "POST")


async def test_what_is_refused_does_not_reach_the_application(ports: Ports, tenant: Tenant) -> None:
    api, _ = mounted(ports, never)
    unknown = await ask(api, None)
    assert (unknown.status_code, unknown.headers["www-authenticate"]) == (401, "Bearer")
    assert (await ask(api, tenant.test_key, content=b"x" * 101)).status_code == 413


async def test_a_key_needs_no_scope_where_the_mount_asks_for_none(ports: Ports, tenant: Tenant) -> None:
    async def answer(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 202, "headers": JSON})
        await send({"type": "http.response.body", "body": b""})

    key = await make_key(ports, tenant.test_world, "rk_test", scopes=())
    got = await ask(mounted(ports, answer)[0], key)
    assert (got.status_code, got.headers["content-length"], got.headers.get("content-type")) == (
        202,
        "0",
        None,
    )


async def test_an_error_of_the_application_is_answered_as_usual(ports: Ports, tenant: Tenant) -> None:
    async def known(*_: Any) -> None:
        raise Conflict("The toy is in use.")

    async def fault(*_: Any) -> None:
        raise RuntimeError("secret")

    async def late(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": JSON})
        raise RuntimeError("secret")

    async def silent(*_: Any) -> None:
        pass

    for answer, status in ((known, 409), (fault, 500), (late, 500), (silent, 500)):
        got = await ask(mounted(ports, answer)[0], tenant.test_key)
        assert (got.status_code, "secret" in got.text) == (status, False)
        assert got.json()["error"]["request_id"] == got.headers["x-request-id"]


async def test_an_application_that_takes_too_long_is_ended(ports: Ports, tenant: Tenant) -> None:
    ended = asyncio.Event()

    async def answer(*_: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    got = await ask(mounted(ports, answer, answer_timeout=0.05)[0], tenant.test_key)
    assert got.status_code == 503
    await ended.wait()


async def test_events_are_sent_as_they_are_made(ports: Ports, tenant: Tenant) -> None:
    async def answer(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": EVENTS})
        for piece in (b"data: 1\n\n", b"", b"data: 2\n\n"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    got = await ask(mounted(ports, answer)[0], tenant.test_key)
    assert (got.text, got.headers["content-type"]) == ("data: 1\n\ndata: 2\n\n", "text/event-stream")
    assert got.headers.get_list("cache-control") == ["no-store"]


async def test_an_application_ends_when_its_reader_leaves_or_gets_no_place(
    ports: Ports, tenant: Tenant
) -> None:
    begun, answered, leaves = asyncio.Event(), asyncio.Event(), asyncio.Event()
    ended = asyncio.Semaphore(0)

    async def answer(_: Scope, __: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": EVENTS})
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.release()

    api, _ = mounted(ports, answer)
    heads: list[int] = []

    async def receive_of(body: list[bytes]) -> dict[str, Any]:
        if body:
            return {"type": "http.request", "body": body.pop(), "more_body": False}
        await leaves.wait()
        return {"type": "http.disconnect"}

    async def reader() -> None:
        body = [b"{}"]
        headers = [(b"authorization", f"Bearer {tenant.test_key}".encode())]
        scope = {
            "type": "http", "method": "POST", "path": "/toy", "query_string": b"", "headers": headers,
            "client": ("127.0.0.1", 1),
        }  # fmt: skip

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                heads.append(message["status"])
                if len(heads) == len(readers):
                    answered.set()

        await api(scope, lambda: receive_of(body), send)

    readers = [asyncio.create_task(reader()) for _ in range(17)]
    await begun.wait()
    await ended.acquire()  # the seventeenth finds no place
    await answered.wait()
    assert sorted(heads) == [200] * 16 + [429]
    leaves.set()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*readers)
    for _ in range(16):
        await ended.acquire()


async def test_closing_the_api_closes_its_applications(ports: Ports) -> None:
    api, told = mounted(ports, never)
    await api.close()
    assert told.closed


async def test_some_callers_reach_an_operation_only_through_an_application(
    ports: Ports, tenant: Tenant
) -> None:
    key = await make_key(ports, tenant.test_world, "rk_test", scopes=("toys:read",))
    toys = Routes("Toys", Access("toys:read", frozenset(), inside=KEYS), Access("toys:read"))

    async def run(_: object) -> bytes:
        return b"{}"

    operation = toys.get("/v1/toys", "list_toys").content("List toys", run, answer="json")
    statuses: list[int] = []

    def make(api: App) -> Told:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            inside = {**scope, "method": "GET", "path": "/v1/toys", "query_string": b"", INSIDE: True}

            async def note(message: Any) -> None:
                statuses.append(message.get("status", 0))

            await api(inside, receive, note)
            await send({"type": "http.response.start", "status": 202, "headers": JSON})
            await send({"type": "http.response.body", "body": b""})

        return Told(answer)

    mount = Mount(method="POST", path="/toy", name="toy", access=Access(None), make=make)
    api = api_of(ports, (operation,), body_limit=100, mounts=(mount,))
    await ask(api, key)
    await ask(api, tenant.test_key)
    assert statuses == [200, 0, 403, 0], "the scope is asked for all the same"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://lapel.test") as client:
        assert (await client.get("/v1/toys", headers=bearer(key))).status_code == 403
