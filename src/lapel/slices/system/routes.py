"""Health, readiness, metrics, and the API's own description."""

from __future__ import annotations

import asyncio
import hmac
from functools import cached_property
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal

import asyncpg
import msgspec
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from lapel.foundation.core.errors import ApiError, Forbidden, MethodNotAllowed, Unauthorized, Unavailable
from lapel.foundation.database.pool import DATABASE_AWAY
from lapel.foundation.database.schema_version import newest_revision
from lapel.foundation.http.operations import NoBody, NoQuery, Operation, Params, Reply
from lapel.foundation.http.responses import refuse
from lapel.foundation.openapi import page
from lapel.foundation.openapi.document import document
from lapel.foundation.queue.jobs import count_workers
from lapel.foundation.storage.errors import ObjectMissing, StoreUnavailable
from lapel.foundation.telemetry import METRICS_TYPE, render_families, render_metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client.core import Metric

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.core.asgi import Receive, Scope, Send
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.responses import Headers
    from lapel.foundation.openapi.schemas import Schema
    from lapel.foundation.ports import Ports

PROBE_SECONDS = 2.0
_AWAY = (Unavailable, asyncpg.PostgresError, *DATABASE_AWAY)
# A key that no recording can have: looking for it shows that the store answers.
_NOWHERE = "health/nothing-is-ever-stored-here"

ALIVE = "SELECT 1"
REVISION = "SELECT version_num FROM alembic_version"
JOBS = "SELECT entrypoint, status::text AS status, count(*) AS count FROM jobs.pgqueuer GROUP BY 1, 2"
QUEUE_REACHABLE = "SELECT EXISTS (SELECT 1 FROM jobs.pgqueuer)"
FINDINGS = "SELECT kind, found FROM findings"

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Health(msgspec.Struct, frozen=True):
    """Whether this server can work. Exactly these keys."""

    status: Literal["healthy", "unhealthy"]
    database: Literal["connected", "disconnected"]
    billing: Literal["disabled"] = "disabled"


class Migrations(msgspec.Struct, frozen=True):
    """The database's revision, and the one this server was written for."""

    applied: str | None
    expected: str


class Readiness(msgspec.Struct, frozen=True):
    """Part by part.

    `degraded`: requests are worth sending, but what needs the missing part is refused with 503
    or waits. `unready`: send none.
    """

    status: Literal["ready", "degraded", "unready"]
    database: Literal["connected", "disconnected"]
    store: Literal["connected", "disconnected"]
    queue: Literal["running", "no_worker", "disconnected"]
    migrations: Migrations


class Probe:
    """Looks at the parts. Simultaneous callers share one query of the database, which is outside the pool."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._asking: asyncio.Task[bool] | None = None

    async def database(self) -> bool:
        """Whether the database answers in time."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_database(), name="health")
        return await asyncio.shield(self._asking)

    async def _ask_database(self) -> bool:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._ports.database.own.run(lambda connection: connection.fetchval(ALIVE))
        except _AWAY:
            return False
        return True

    async def store(self) -> bool:
        """Whether the store answers in time, and takes our credentials."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._ports.store.head(_NOWHERE)
        except ObjectMissing:
            return True
        except (StoreUnavailable, TimeoutError):
            return False
        return True

    async def queue(self) -> Literal["running", "no_worker", "disconnected"]:
        """Whether jobs can be enqueued, and a worker runs them."""

        async def look(connection: Connection) -> int:
            await connection.fetchval(QUEUE_REACHABLE)
            return await count_workers(connection)

        try:
            async with asyncio.timeout(PROBE_SECONDS):
                workers = await self._ports.database.own.run(look)
        except _AWAY:
            return "disconnected"
        return "running" if workers else "no_worker"

    async def migrations(self) -> Migrations:
        """The database's revision; None when it cannot be read."""
        expected = newest_revision()
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                applied = await self._ports.database.own.run(lambda connection: connection.fetchval(REVISION))
                return Migrations(applied, expected)
        except _AWAY:
            return Migrations(None, expected)


class _Routes:
    def __init__(self, ports: Ports) -> None:
        self._probe = Probe(ports)

    async def health(self, _actor: Actor, _params: Params, _query: NoQuery, _body: NoBody) -> Reply:
        if await self._probe.database():
            return Reply(Health("healthy", "connected"))
        return _unavailable(Health("unhealthy", "disconnected"))

    async def ready(self, _actor: Actor, _params: Params, _query: NoQuery, _body: NoBody) -> Reply:
        database, store, queue, migrations = await asyncio.gather(
            self._probe.database(), self._probe.store(), self._probe.queue(), self._probe.migrations()
        )
        serves = database and migrations.applied == migrations.expected
        whole = serves and store and queue == "running"
        body = Readiness(
            status="ready" if whole else "degraded" if serves else "unready",
            database="connected" if database else "disconnected",
            store="connected" if store else "disconnected",
            queue=queue,
            migrations=migrations,
        )
        return Reply(body) if serves else _unavailable(body)


def _unavailable(body: msgspec.Struct) -> Reply:
    return Reply(body, HTTPStatus.SERVICE_UNAVAILABLE, (("Retry-After", "1"),))


class _Described:
    """The document and its page, made at the first request for them, which most processes never get."""

    def __init__(self, others: Sequence[Operation], server_url: str) -> None:
        self.operations = tuple(others)
        self._server_url = server_url

    @cached_property
    def _document(self) -> Schema:
        return document(self.operations, server_url=self._server_url)

    @cached_property
    def _json(self) -> bytes:
        return msgspec.json.encode(self._document)

    @cached_property
    def _html(self) -> bytes:
        return page.page(self._document)

    async def document(self, _actor: Actor, _params: Params, _query: NoQuery, _body: NoBody) -> Reply:
        return Reply(await asyncio.to_thread(lambda: self._json))

    async def page(self, _actor: Actor, _params: Params, _query: NoQuery, _body: NoBody) -> Reply:
        return Reply(await asyncio.to_thread(lambda: self._html))


def operations(ports: Ports, others: Sequence[Operation]) -> tuple[Operation, ...]:
    """The public routes about the server itself; they describe `others` and themselves."""
    routes = _Routes(ports)
    described = _Described(others, ports.settings.base_url)
    own = (
        Operation(
            method="GET",
            path="/health",
            name="get_health",
            summary="Whether the server and its database work",
            tag="System",
            handler=routes.health,
            scope=None,
            callers=frozenset(),
            response=Health,
            also=(503,),
        ),
        Operation(
            method="GET",
            path="/health/ready",
            name="get_readiness",
            summary="The state of every part: database, store, queue, migrations",
            description=(
                "503 only when no request can be served. A missing store or worker is `degraded`, 200: "
                "taking every server out of rotation would mend neither."
            ),
            tag="System",
            handler=routes.ready,
            scope=None,
            callers=frozenset(),
            response=Readiness,
            also=(503,),
        ),
        Operation(
            method="GET",
            path="/v1/openapi.json",
            name="get_openapi",
            summary="This document",
            tag="System",
            handler=described.document,
            scope=None,
            callers=frozenset(),
        ),
        Operation(
            method="GET",
            path="/docs",
            name="get_docs",
            summary="This document, for people; one page that needs no network",
            tag="System",
            handler=described.page,
            scope=None,
            callers=frozenset(),
            answer="html",
        ),
    )
    described.operations = (*others, *own)
    return own


class Metrics:
    """`GET /metrics` for Prometheus: an ASGI application of its own.

    It is no operation, because it needs the client's address, which handlers never see. It answers
    requests from this machine, and requests with `LAPEL_METRICS_TOKEN`. No metric names a tenant.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's shape
        """Answer one request."""
        if scope["type"] != "http":
            return
        request_id = self._ports.ids.new("req")
        try:
            if scope["method"] not in {"GET", "HEAD"}:
                raise MethodNotAllowed(("GET", "HEAD"))
            self._admit(scope["client"], dict(scope["headers"]))
            content = await asyncio.to_thread(render_metrics) + render_families(await self._counted())
            status, headers = 200, ((b"content-type", METRICS_TYPE.encode()),)
        except ApiError as error:
            status, headers, content = refuse(error, request_id, as_problem=False)
        await _send(send, status, ((b"x-request-id", request_id.encode()), *headers), content)

    def _admit(self, client: tuple[str, int] | None, headers: dict[bytes, bytes]) -> None:
        token = self._ports.settings.metrics_token
        given = headers.get(b"authorization")
        if token is not None and given is not None:
            if hmac.compare_digest(given, b"Bearer " + token.encode()):
                return
            raise Unauthorized("This is not the token of `LAPEL_METRICS_TOKEN`.")
        if is_local(client, headers):
            return
        if token is not None:
            raise Unauthorized("Give the token of `LAPEL_METRICS_TOKEN`: `Authorization: Bearer <token>`.")
        raise Forbidden(
            "Metrics are for this machine only. Set `LAPEL_METRICS_TOKEN` to read them elsewhere."
        )

    async def _counted(self) -> list[Metric]:
        """What only the database knows: jobs, workers and findings of all processes."""
        up = "Whether the database answered this request."
        try:
            async with asyncio.timeout(PROBE_SECONDS), self._ports.database.acquire() as connection:
                jobs = await connection.fetch(JOBS)
                workers = await count_workers(connection)
                findings = await connection.fetch(FINDINGS)
        except _AWAY as error:
            _log.warning("metrics.database_away", error=type(error).__name__)
            return [GaugeMetricFamily("lapel_database_up", up, 0)]
        queued = GaugeMetricFamily(
            "lapel_jobs",
            "Jobs in the queue; `failed` ones are held for a person to look at.",
            labels=("job", "state"),
        )
        for row in jobs:
            queued.add_metric((row["entrypoint"], row["status"]), row["count"])
        found = CounterMetricFamily(
            "lapel_findings_total", "What the reconciler found, since the beginning.", labels=("kind",)
        )
        for row in findings:
            found.add_metric((row["kind"],), row["found"])
        return [
            GaugeMetricFamily("lapel_database_up", up, 1),
            GaugeMetricFamily("lapel_workers", "Workers seen in the last 30 seconds.", workers),
            queued,
            found,
        ]


def is_local(client: tuple[str, int] | None, headers: dict[bytes, bytes]) -> bool:
    """Whether a request comes from this machine itself, and not through a proxy on it."""
    if client is None:  # a Unix socket
        return False
    if any(name in headers for name in (b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via")):
        return False
    try:
        address = ip_address(client[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


async def _send(send: Send, status: int, headers: Headers, content: bytes) -> None:
    sent = [*headers, (b"cache-control", b"no-store"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": sent, "trailers": False})
    await send({"type": "http.response.body", "body": content, "more_body": False})
