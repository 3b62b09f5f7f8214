"""A world with webhooks, a receiver that answers as a test says, and the engine beside it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import secrets
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from lapel.foundation.database import outbox
from lapel.foundation.ports import Ports
from lapel.slices.webhooks.delivery.engine import DeliveryEngine
from lapel.slices.webhooks.records.endings import Endings
from lapel.slices.webhooks.signing_secrets import sealed
from tests.support.patience import patience
from tests.support.receivers import accepting
from tests.support.tenants import Tenant

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
INSERT_WEBHOOK = """
INSERT INTO webhooks (world_id, id, url, events, status, sealed_secret, sealed_previous_secret,
    previous_secret_until, created_at, updated_at, verified_at, paused_until)
VALUES ($1, $2, $3, $4, 'enabled', $5, $6, now() + $7, now(), now(), CASE WHEN $8 THEN now() END,
    CASE WHEN NOT $8 THEN now() END)
"""
TELL = f"SELECT pg_notify('{outbox.EVENTS_CHANNEL}', '')"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answer(status: int, *headers: str, body: bytes = b"") -> bytes:
    """An answer as bytes."""
    lines = [f"HTTP/1.1 {status} Said", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True, slots=True)
class Received:
    """One request: its headers, each as often as it was sent, and its body."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: str) -> str:
        """The value of a header that was sent once."""
        (value,) = [value for key, value in self.headers if key.lower() == name.lower()]
        return value

    @property
    def event_id(self) -> str:
        return self["X-Bota-Event-Id"]

    def data(self) -> Any:
        """The event's data."""
        return msgspec.json.decode(self.body)["data"]

    def bota_signed_by(self, secret: str) -> bool:
        """Verifies as the contract says, and with nothing of ours."""
        signed = self["X-Bota-Timestamp"].encode() + b"." + self.body
        digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
        return hmac.compare_digest("v1=" + digest, self["X-Bota-Signature"])


Respond = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Receiver:
    """What a server on loopback received. `respond` may be changed at any time."""

    respond: Respond
    url: str = ""
    received: list[Received] = field(default_factory=list)
    connections: int = 0

    def script(self, *answers: bytes) -> None:
        """Answer with one after the other, then with 200."""
        left = list(answers)

        async def respond(_: Received, writer: asyncio.StreamWriter) -> None:
            writer.write(left.pop(0) if left else OK)

        self.respond = respond


async def accept(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


async def never(_: Received, __: asyncio.StreamWriter) -> None:
    """Keep the connection open, and answer nothing."""
    await asyncio.sleep(60)


@asynccontextmanager
async def receiving(respond: Respond = accept) -> AsyncGenerator[Receiver]:
    """A server that keeps what it receives, and answers by `respond`."""
    receiver = Receiver(respond)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        receiver.connections += 1
        while True:
            line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
            headers = [(name, value.strip()) for name, _, value in (each.partition(":") for each in lines)]
            request = Received(line, headers, b"")
            body = await reader.readexactly(int(request["Content-Length"]))
            request = replace(request, body=body)
            receiver.received.append(request)
            await receiver.respond(request, writer)
            await writer.drain()

    async with accepting(serve) as port:
        receiver.url = f"http://127.0.0.1:{port}/hook"
        yield receiver


def a_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook that a test made."""

    id: str
    secret: str


@dataclass(frozen=True, slots=True)
class World:
    """A world, its events and its webhooks."""

    ports: Ports
    id: int

    async def webhook(
        self, url: str, *events: str, previous: str | None = None, verified: bool = True
    ) -> Webhook:
        """Make a webhook; `previous`: its secret before the rotation. `verified`: it has had a success."""
        made = Webhook(self.ports.ids.new("wh"), a_secret())
        old = None if previous is None else sealed(self.ports.sealer, self.id, made.id, previous)
        own = sealed(self.ports.sealer, self.id, made.id, made.secret)
        until = None if old is None else timedelta(hours=24)
        types = list(events or ("*",))
        await self.execute(INSERT_WEBHOOK, self.id, made.id, url, types, own, old, until, verified)
        return made

    async def webhooks(self, url: str, count: int) -> None:
        """Make many webhooks with secrets of their own."""
        ids = [self.ports.ids.new("wh") for _ in range(count)]
        secrets = [sealed(self.ports.sealer, self.id, each, a_secret()) for each in ids]
        await self.execute(
            "INSERT INTO webhooks (world_id, id, url, events, status, sealed_secret, created_at, updated_at,"
            " verified_at) SELECT $1, m.id, $2, '{*}', 'enabled', m.secret, now(), now(), now()"
            " FROM unnest($3::text[], $4::bytea[]) AS m (id, secret)",
            self.id,
            url,
            ids,
            secrets,
        )

    async def publish(
        self,
        resource: str | None = None,
        data: bytes = b'{"told":true}',
        *,
        type: str = "device.bound",  # noqa: A002 - the contract's word
        test_for: str | None = None,
    ) -> str:
        """Publish one event; returns its id."""
        async with self.ports.database.transaction() as connection:
            return await self._publish(connection, resource, data, type, test_for)

    async def publish_all(self, events: Iterable[tuple[str, str]]) -> list[str]:
        """Publish events, each of a resource and type, in one transaction; returns their ids."""
        async with self.ports.database.transaction() as connection:
            return [await self._publish(connection, resource, b"{}", name) for resource, name in events]

    async def _publish(
        self,
        connection: Connection,
        resource: str | None,
        data: bytes,
        name: str,
        test_for: str | None = None,
    ) -> str:
        ids = self.ports.ids
        once = ids.new("once")
        return await outbox.publish(
            connection,
            ids,
            self.ports.clock.now(),
            world_id=self.id,
            type=name,
            resource_id=resource or once,
            data=data,
            dedupe=once,
            test_for=test_for,
        )

    async def publish_many(self, resource: str, count: int) -> None:
        """Publish events of one resource in one statement."""
        ids = self.ports.ids
        async with self.ports.database.transaction() as connection:
            await outbox.publish_many(
                connection,
                ids,
                self.ports.clock.now(),
                world_id=self.id,
                type="device.bound",
                resources=[(resource, b"{}")] * count,
                dedupes=[ids.new("once") for _ in range(count)],
            )

    async def execute(self, sql: str, *arguments: object) -> None:
        async with self.ports.database.acquire() as connection:
            await connection.execute(sql, *arguments)

    async def fetch(self, sql: str, *arguments: object) -> list[dict[str, Any]]:
        async with self.ports.database.acquire() as connection:
            return [dict(row) for row in await connection.fetch(sql, *arguments)]

    async def deliveries(self) -> list[dict[str, Any]]:
        """All deliveries, in the order of positions and webhooks."""
        return await self.fetch(
            "SELECT *, extract(epoch FROM due_at - now())::float8 AS wait FROM webhook_deliveries"
            " WHERE world_id = $1 ORDER BY position, webhook_id",
            self.id,
        )

    async def attempts(self) -> list[dict[str, Any]]:
        """All attempts, in their order."""
        return await self.fetch(
            "SELECT * FROM webhook_attempts WHERE world_id = $1 ORDER BY started_at, number", self.id
        )

    async def state(self, webhook: Webhook) -> dict[str, Any]:
        """A webhook's row."""
        (row,) = await self.fetch(
            "SELECT *, extract(epoch FROM paused_until - now())::float8 AS pause FROM webhooks"
            " WHERE world_id = $1 AND id = $2",
            self.id,
            webhook.id,
        )
        return row

    async def all_due(self) -> None:
        """Let all waits pass: retries of pending deliveries, and pauses of webhooks."""
        await self.execute(
            "UPDATE webhook_deliveries SET due_at = now() WHERE world_id = $1 AND state = 'pending'", self.id
        )
        await self.execute(
            "UPDATE webhooks SET paused_until = now() WHERE world_id = $1 AND paused_until IS NOT NULL",
            self.id,
        )
        await self.execute(TELL)

    async def settled(self, count: int, *states: str) -> list[dict[str, Any]]:
        """Wait until so many deliveries are in these states (default: ended)."""
        wanted = states or ("succeeded", "failed")
        counted = "SELECT count(*) FROM webhook_deliveries WHERE world_id = $1 AND state = ANY($2)"
        async with patience(60):
            while True:
                await self._until(count, counted, list(wanted))
                found = await self.deliveries()
                if len([row for row in found if row["state"] in wanted]) == count:
                    return found

    async def attempted(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many attempts are written."""
        counted = "SELECT least(count(*), $2::bigint) AS count FROM webhook_attempts WHERE world_id = $1"
        async with patience(60):
            await self._until(count, counted, count)
        return await self.attempts()

    async def _until(self, count: int, counted: str, *arguments: object) -> None:
        """Wait until so many are counted. All rows, read each time, would cost more than what makes them."""
        while await self.fetch(counted, self.id, *arguments) != [{"count": count}]:  # noqa: ASYNC110 - a table
            await asyncio.sleep(0.01)


async def until(true: Callable[[], bool]) -> None:
    """Wait until something is true."""
    async with patience(60):
        while not true():  # noqa: ASYNC110 - a condition of the test
            await asyncio.sleep(0.005)


def out_of_order(received: Iterable[Received], resource_of: Mapping[str, str]) -> list[tuple[str, list[int]]]:
    """Resources whose events did not arrive in the order of their positions, and the order of their arrival.

    Repeats do not count. `resource_of`: the resource of each event that counts. Each webhook's requests have
    a path of their own.
    """
    firsts: defaultdict[tuple[str, str], dict[int, None]] = defaultdict(dict)
    for request in received:
        if request.event_id in resource_of:
            place = firsts[resource_of[request.event_id], request.line]
            place.setdefault(int(request["X-Lapel-Sequence"]))
    return [(resource, list(came)) for (resource, _), came in firsts.items() if list(came) != sorted(came)]


def world_of(ports: Ports, tenant: Tenant) -> World:
    """The tenant's test world, with outbound calls to loopback allowed."""
    return World(
        replace(ports, settings=replace(ports.settings, outbound_networks=LOOPBACK)), tenant.test_world
    )


@asynccontextmanager
async def delivering(ports: Ports) -> AsyncGenerator[DeliveryEngine]:
    """The engine of one worker."""
    engine = DeliveryEngine(ports, Endings(ports))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()
