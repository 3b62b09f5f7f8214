"""The request path itself, over operations made for it, on the real database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest
import structlog

from lapel.foundation.core.actors import Actor
from lapel.foundation.core.disk_guard import DiskGuard
from lapel.foundation.core.errors import Conflict
from lapel.foundation.database.turns.world_shares import WORLD
from lapel.foundation.http.authorization import PUBLIC, Access
from lapel.foundation.http.calls import Call, NoBody, NoQuery, Reply, StoredCall
from lapel.foundation.http.operations import Operation
from lapel.foundation.http.protocols import Observer
from lapel.foundation.http.routes import Routes
from lapel.foundation.ports import Ports
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.foundation.telemetry import flush_log, observe_request
from tests.support.api import api_of
from tests.support.log_lines import logged_lines
from tests.support.tenants import Tenant

SECRET = "postgresql://lapel:hunter2@/var/lib/secret"


class Thing(msgspec.Struct):
    """What the operations here answer."""

    value: str


class Make(msgspec.Struct):
    """What they take."""

    value: str = "x"


async def read(call: Call[NoQuery, NoBody]) -> Thing:
    return Thing(call.id)


THINGS = Routes("", read=Access("recordings:read"), write=Access("recordings:read"))
READ = THINGS.get("/v1/things/{thing_id}", "get_thing", Thing).plain("", read)


def raising(*errors: BaseException, stored: bool = False) -> Operation:
    """An operation that raises one after the other, then answers."""
    left = list(errors)

    async def handler(_call: Any) -> Thing:
        if left:
            raise left.pop(0)
        return Thing("done")

    if stored:
        return THINGS.post("/v1/raising", "get_thing", Thing).stored("", handler)
    return THINGS.get("/v1/raising", "get_thing", Thing).plain("", handler)


@pytest.fixture
def serve(ports: Ports, tenant: Tenant) -> Callable[..., httpx.AsyncClient]:
    """A client of an API with just these operations, with a key that may call them."""

    def make(
        *operations: Operation, disk: DiskGuard | None = None, observe: Observer | None = None
    ) -> httpx.AsyncClient:
        api = api_of(ports, operations, body_limit=1000, observe=observe, disk=disk)
        transport = httpx.ASGITransport(api)
        return httpx.AsyncClient(transport=transport, base_url="http://api", headers=tenant.headers)

    return make


Serve = Callable[..., httpx.AsyncClient]


async def test_a_parameter_reaches_the_handler(serve: Serve) -> None:
    answer = await serve(READ).get("/v1/things/rec_1")
    assert answer.json() == {"value": "rec_1"}


async def test_a_request_begins_without_the_world_of_the_one_before_on_its_connection(serve: Serve) -> None:
    async def world(_call: Any) -> Thing:
        return Thing(str(WORLD.get()))

    public = Routes("", read=PUBLIC, write=PUBLIC)
    api = serve(public.get("/v1/world", "get_thing", Thing).plain("", world))
    WORLD.set(1)  # the request before ran in the context in which uvicorn starts the next one
    assert (await api.get("/v1/world")).json() == {"value": "None"}


async def test_a_bug_is_500_that_shows_nothing_and_is_logged_with_its_request_id(serve: Serve) -> None:
    with structlog.testing.capture_logs() as logs:
        answer = await serve(raising(RuntimeError(SECRET))).get("/v1/raising")
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert error["code"] == "internal_error"
    assert set(error) == {"code", "message", "request_id"}
    for word in ("hunter2", "RuntimeError", "Traceback", "/var", "File"):
        assert word not in answer.text
    assert [each["event"] for each in logs] == ["request.failed"]
    assert isinstance(logs[0]["exc_info"], RuntimeError)
    assert error["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailable("gone"),
        asyncpg.ConnectionDoesNotExistError(),
        asyncpg.CannotConnectNowError(),
        asyncpg.InterfaceError("closed"),
        asyncpg.QueryCanceledError(),
        asyncpg.LockNotAvailableError("somebody else holds it for long"),
        asyncpg.DiskFullError("no room"),
        ConnectionRefusedError(),
        FileNotFoundError("socket"),
        TimeoutError(),
    ],
    ids=lambda each: type(each).__name__,
)
async def test_a_part_that_is_away_is_503_with_retry_after(serve: Serve, error: Exception) -> None:
    answer = await serve(raising(error)).get("/v1/raising")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "unavailable"
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("kind", [asyncpg.DeadlockDetectedError, asyncpg.InvalidCachedStatementError])
async def test_a_stored_operation_is_tried_again_once(serve: Serve, kind: type[Exception]) -> None:
    once = raising(kind(), stored=True)
    assert (await serve(once).post("/v1/raising")).json() == {"value": "done"}
    twice = raising(kind(), kind(), stored=True)
    lost = await serve(twice).post("/v1/raising")
    assert (lost.status_code, lost.headers["retry-after"]) == (503, "1")


async def test_a_refused_stored_operation_is_rolled_back(serve: Serve, ports: Ports, tenant: Tenant) -> None:
    user = ports.ids.new("eu")

    async def handler(call: StoredCall[NoQuery, NoBody]) -> Thing:
        await call.connection.execute(
            "INSERT INTO end_users (world_id, id, created_at, updated_at) VALUES ($1, $2, $3, $3)",
            tenant.test_world,
            user,
            ports.clock.now(),
        )
        raise Conflict("No.")

    operation = THINGS.post("/v1/no", "no", Thing).stored("", handler)
    answer = await serve(operation).post("/v1/no", headers={"Idempotency-Key": "a"})
    assert answer.status_code == 409
    async with ports.database.acquire() as connection:
        world = tenant.test_world
        assert await connection.fetchval("SELECT count(*) FROM end_users WHERE world_id = $1", world) == 0
        assert (
            await connection.fetchval("SELECT count(*) FROM idempotency_keys WHERE world_id = $1", world) == 0
        )


async def test_what_comes_after_the_commit_sees_the_effect(
    serve: Serve, ports: Ports, tenant: Tenant
) -> None:
    user = ports.ids.new("eu")
    seen: list[int] = []

    async def look() -> None:
        async with ports.database.acquire() as connection:
            seen.append(await connection.fetchval("SELECT count(*) FROM end_users WHERE id = $1", user))

    async def handler(call: StoredCall[NoQuery, NoBody]) -> Reply[Thing]:
        await call.connection.execute(
            "INSERT INTO end_users (world_id, id, created_at, updated_at) VALUES ($1, $2, $3, $3)",
            tenant.test_world,
            user,
            ports.clock.now(),
        )
        return Reply(Thing("made"), committed=look)

    operation = THINGS.post("/v1/made", "made", Thing).stored("", handler)
    assert (await serve(operation).post("/v1/made")).status_code == 200
    assert seen == [1]


async def test_a_reply_may_have_its_own_status_and_headers(serve: Serve) -> None:
    async def handler(_call: Call[NoQuery, NoBody]) -> Reply[Thing]:
        return Reply(Thing("new"), status=202, headers=(("Retry-After", "5"),))

    answer = await serve(THINGS.get("/v1/a", "a", Thing).plain("", handler, also=(202,))).get("/v1/a")
    assert (answer.status_code, answer.headers["retry-after"]) == (202, "5")


async def test_an_empty_answer_has_no_length_and_no_type(serve: Serve) -> None:
    async def handler(_call: Call[NoQuery, NoBody]) -> None:
        return None

    answer = await serve(THINGS.delete("/v1/a", "a").plain("", handler)).delete("/v1/a")
    assert answer.status_code == 204
    assert "content-length" not in answer.headers
    assert "content-type" not in answer.headers


def make_operation(handler: Callable[[Call[NoQuery, Make]], Awaitable[Thing]] | None = None) -> Operation:
    """One that takes a body."""

    async def echo(call: Call[NoQuery, Make]) -> Thing:
        return Thing(call.body.value)

    return THINGS.post("/v1/things", "get_thing", Thing, Make).plain("", handler or echo, natural=True)


async def chunks(*parts: bytes) -> AsyncGenerator[bytes]:
    for part in parts:
        yield part


async def test_a_body_in_pieces_is_put_together(serve: Serve) -> None:
    body = chunks(b'{"val', b"", b'ue":"a', b'b"}')
    assert (await serve(make_operation()).post("/v1/things", content=body)).json() == {"value": "ab"}


async def test_a_body_is_read_no_further_than_its_limit(serve: Serve) -> None:
    read_so_far: list[int] = []

    async def endless() -> AsyncGenerator[bytes]:
        while True:
            read_so_far.append(100)
            yield b" " * 100

    answer = await serve(make_operation()).post("/v1/things", content=endless())
    assert answer.status_code == 413
    assert sum(read_so_far) <= 1200
    assert (await serve(make_operation()).post("/v1/things", content=b" " * 998 + b"{}")).status_code == 200
    assert (await serve(make_operation()).post("/v1/things", content=b" " * 999 + b"{}")).status_code == 413


async def test_a_get_is_answered_without_reading_its_body(serve: Serve) -> None:
    async def never() -> AsyncGenerator[bytes]:
        raise AssertionError("it was read")
        yield b""

    answer = await serve(READ).request("GET", "/v1/things/a", content=never())
    assert answer.status_code == 200


async def test_a_client_that_hangs_up_gets_no_answer_and_no_effect(serve: Serve) -> None:
    called: list[str] = []

    async def handler(_call: Call[NoQuery, Make]) -> Thing:
        called.append("called")
        return Thing("")

    client = serve(make_operation(handler))
    transport: Any = client._transport
    sent: list[Any] = []
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])
    headers = [(b"authorization", client.headers["authorization"].encode())]
    scope = {"type": "http", "method": "POST", "path": "/v1/things", "query_string": b"", "headers": headers}

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    await transport.app(scope, receive, send)
    assert sent == []
    assert called == []


async def test_with_a_full_disk_reading_and_deleting_go_on(serve: Serve, tmp_path: Path) -> None:
    full = DiskGuard(tmp_path, 2**62)

    async def handler(_call: Any) -> Thing:
        return Thing("done")

    client = serve(
        READ,
        replace(make_operation(), name="natural"),
        THINGS.post("/v1/stored", "get_thing", Thing, Make).stored("", handler),
        replace(make_operation(), path="/v1/none", natural=False),
        THINGS.delete("/v1/things", "get_thing", Thing).plain("", handler, natural=True),
        disk=full,
    )
    assert (await client.get("/v1/things/a")).status_code == 200
    assert (await client.delete("/v1/things")).status_code == 200
    assert (await client.post("/v1/none")).status_code == 200
    for path in ("/v1/things", "/v1/stored"):
        answer = await client.post(path)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "60"
        assert "disk" in answer.json()["error"]["message"]


@pytest.mark.parametrize("fails", [False, True])
async def test_every_line_that_is_logged_for_an_answer_has_the_id_that_the_client_got(
    serve: Serve, fails: bool
) -> None:
    log = structlog.get_logger("lapel.x")

    async def in_a_task() -> None:
        log.info("in a task")

    async def handler(_call: Any) -> Thing:
        log.info("at once")
        await asyncio.to_thread(log.warning, "in a thread")
        await asyncio.create_task(in_a_task())
        if fails:
            raise RuntimeError
        return Thing("done")

    operation = THINGS.get("/v1/raising", "get_thing", Thing).plain("", handler)
    with logged_lines() as lines:
        answer = await serve(operation, observe=observe_request).get("/v1/raising")
        flush_log()
    written = [json.loads(line) for line in lines.getvalue().splitlines()]
    asked = {"at once", "in a thread", "in a task", "request", *(["request.failed"] if fails else [])}
    assert asked <= {each["event"] for each in written}
    assert {each["request_id"] for each in written} == {answer.headers["x-request-id"]}
    if fails:
        assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]


async def test_every_answer_is_observed(serve: Serve) -> None:
    seen: list[tuple[str | None, str, int, str]] = []

    def observe(
        operation: Operation | None, method: str, status: int, seconds: float, actor: Actor, error: str | None
    ) -> None:
        assert seconds >= 0
        seen.append((operation and operation.name, method, status, actor.kind))

    client = serve(READ, raising(RuntimeError()), observe=observe)
    await client.get("/v1/things/a")
    await client.get("/v1/things/a", headers={"Authorization": "none"})
    await client.get("/v1/unknown")
    await client.put("/v1/things/a")
    await client.get("/v1/raising")
    assert seen == [
        ("get_thing", "GET", 200, "key"),
        ("get_thing", "GET", 401, "anonymous"),
        (None, "GET", 404, "anonymous"),
        (None, "PUT", 405, "anonymous"),
        ("get_thing", "GET", 500, "key"),
    ]
