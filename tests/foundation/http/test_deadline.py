"""The time of one request: when it begins, what its end does, and what it leaves alone."""

from __future__ import annotations

import asyncio

import msgspec
import structlog
from structlog.typing import EventDict

from lapel.foundation.core.asgi import Message
from lapel.foundation.core.request_id import REQUEST_ID
from lapel.foundation.http.api import Api
from lapel.foundation.http.authorization import PUBLIC, Access
from lapel.foundation.http.calls import Content, NoBody, NoQuery, Reply, StoredCall
from lapel.foundation.http.operations import Operation
from lapel.foundation.http.routes import Routes
from lapel.foundation.ports import Ports
from tests.support.api import api_of
from tests.support.running import Running
from tests.support.tenants import Tenant

SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT 4711,%'"


class Thing(msgspec.Struct):
    value: str = ""


ROUTES = Routes("", read=PUBLIC, write=PUBLIC)
THING = ROUTES.post("/v1/thing", "thing", Thing)


class Call:
    """One request to an API with one operation, piece by piece, and what was sent as its answer."""

    def __init__(
        self,
        ports: Ports,
        operation: Operation,
        seconds: float,
        *headers: tuple[bytes, bytes],
        api: Api | None = None,
    ) -> None:
        self.pieces: asyncio.Queue[Message] = asyncio.Queue()
        self.sent: list[Message] = []
        self.answered = asyncio.Event()
        self.pause = 0.0  # before each message of the answer is taken
        api = api or api_of(ports, [operation], body_limit=1000, answer_timeout=seconds)
        self.api = api
        scope = {"type": "http", "method": operation.method, "path": operation.path, "query_string": b""}
        self.task = asyncio.create_task(api(scope | {"headers": headers}, self.pieces.get, self._send))

    def give(self, piece: bytes, *, more: bool) -> None:
        """A piece of the body arrives."""
        self.pieces.put_nowait({"type": "http.request", "body": piece, "more_body": more})

    async def _send(self, message: Message) -> None:
        await asyncio.sleep(self.pause)
        self.sent.append(message)
        if message["type"] == "http.response.body" and not message["more_body"]:
            self.answered.set()

    @property
    def status(self) -> int:
        """The status of the one answer."""
        [head] = [each for each in self.sent if each["type"] == "http.response.start"]
        return head["status"]


async def test_the_time_begins_with_the_last_byte(ports: Ports) -> None:
    async def hang(_call: object) -> Thing:
        return await asyncio.Future()

    call = Call(ports, THING.plain("", hang), 0.05)
    call.give(b'{"value":', more=True)
    await asyncio.sleep(0.3)
    assert not call.sent
    call.give(b'"x"}', more=False)
    await call.answered.wait()
    assert call.status == 503
    head = dict(call.sent[0]["headers"])
    assert int(head[b"retry-after"]) >= 1
    assert b'"unavailable"' in call.sent[1]["body"]
    await call.task


async def test_the_log_names_the_request_that_is_late(ports: Ports) -> None:
    async def hang(_call: object) -> Thing:
        return await asyncio.Future()

    def add_request_id(_: object, __: str, event: EventDict) -> EventDict:
        event["request_id"] = REQUEST_ID.get()
        return event

    with structlog.testing.capture_logs(processors=[add_request_id]) as lines:
        operation = THING.plain("", hang)
        first = Call(ports, operation, 0.05)
        calls = [first, Call(ports, operation, 0.05, api=first.api)]  # one timer for both
        for call in calls:
            call.give(b"{}", more=False)
        for call in calls:
            await call.answered.wait()
            await call.task
    answered = [dict(call.sent[0]["headers"])[b"x-request-id"].decode() for call in calls]
    told = [line["request_id"] for line in lines if line["event"] == "request.late"]
    assert sorted(told) == sorted(answered)


def test_upload_complete_alone_has_longer(live: Running) -> None:
    assert [each.name for each in live.operations if each.slow] == ["complete_upload"]


async def test_an_answer_under_way_is_not_cut(ports: Ports) -> None:
    async def large(_call: object) -> Reply[Content]:
        return Reply(b"x" * 1_000_000, headers=(("Content-Type", "text/plain"),))

    # Nothing here waits before the answer begins, so however short the time is, that is within it.
    call = Call(ports, THING.content("", large, answer="file"), 0.001)
    call.pause = 0.02
    call.give(b"", more=False)
    await call.answered.wait()
    assert call.status == 200
    assert sum(len(each.get("body", b"")) for each in call.sent) == 1_000_000
    await call.task


async def test_the_client_does_not_wait_for_the_rolling_back(ports: Ports) -> None:
    let_go = asyncio.Event()

    async def hang(_call: object) -> Thing:
        try:
            return await asyncio.Future()
        finally:
            await let_go.wait()

    call = Call(ports, THING.plain("", hang), 0.01)
    call.give(b"", more=False)
    await call.answered.wait()
    assert call.status == 503
    assert not call.task.done()
    let_go.set()
    await call.task


async def test_a_handler_that_keeps_its_cancellation_back_answers_nothing_more(ports: Ports) -> None:
    async def stubborn(_call: object) -> Thing:
        try:
            return await asyncio.Future()
        except asyncio.CancelledError:
            return Thing("after all")

    async def other_error(_call: object) -> Thing:
        try:
            return await asyncio.Future()
        except asyncio.CancelledError:
            raise TimeoutError from None

    for handler in (stubborn, other_error):
        call = Call(ports, THING.plain("", handler), 0.01)
        call.give(b"", more=False)
        await call.task
        assert call.status == 503
        assert len(call.sent) == 2


async def test_a_request_that_is_cancelled_in_time_stays_cancelled(ports: Ports) -> None:
    async def hang(_call: object) -> Thing:
        return await asyncio.Future()

    call = Call(ports, THING.plain("", hang), 60)
    call.give(b"", more=False)
    await asyncio.sleep(0.01)
    call.task.cancel()
    await asyncio.wait({call.task})
    assert call.task.cancelled()
    assert not call.sent


async def test_a_transaction_under_way_is_rolled_back_and_its_statement_cancelled(
    ports: Ports, tenant: Tenant
) -> None:
    user = ports.ids.new("eu")

    async def slow(call: StoredCall[NoQuery, NoBody]) -> Thing:
        await call.connection.execute(
            "INSERT INTO end_users (world_id, id, created_at, updated_at) VALUES ($1, $2, $3, $3)",
            tenant.test_world, user, ports.clock.now(),
        )  # fmt: skip
        await call.connection.fetch("SELECT 4711, pg_sleep(3600)")
        return Thing()

    writing = ROUTES.post("/v1/thing", "thing", Thing, access=Access("end_users:write"))
    authorization = (b"authorization", f"Bearer {tenant.test_key}".encode())
    call = Call(ports, writing.stored("", slow), 0.5, authorization)
    call.give(b"{}", more=False)
    await call.task
    assert call.status == 503
    async with ports.database.acquire() as connection:
        assert await connection.fetchval(SLEEPING) == 0
        found = "SELECT count(*) FROM end_users WHERE world_id = $1 AND id = $2"
        assert await connection.fetchval(found, tenant.test_world, user) == 0
