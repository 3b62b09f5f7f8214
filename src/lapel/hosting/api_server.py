"""The ASGI application of one API process: the API, and the embedded store on the same listener."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lapel import app
from lapel.embedded.s3.endpoint import create_store_app
from lapel.embedded.s3.protocol.mismatch import host_header, links_of
from lapel.foundation.core.asgi import routed_path
from lapel.foundation.core.clock import SystemClock
from lapel.foundation.database.pool import API_CONNECTIONS
from lapel.foundation.database.row_quota import Room, RowQuota
from lapel.foundation.http.api import Api
from lapel.foundation.http.rate_limits import open_limiter
from lapel.foundation.http.strategies.stored import Effects
from lapel.foundation.identity.authenticator import Authenticator
from lapel.foundation.ports import RESTART_PATIENCE, open_ports
from lapel.foundation.telemetry import ANSWERS, observe_request
from lapel.hosting.listener import DRAIN
from lapel.slices.ask.service import Answers
from lapel.slices.logs.service import Logs
from lapel.slices.projects.usage import KeyUse
from lapel.slices.recordings.content_types import all_content_types
from lapel.slices.system.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from lapel.foundation.core.asgi import App, Receive, Scope, Send
    from lapel.foundation.core.clock import Clock
    from lapel.foundation.ports import Ports
    from lapel.foundation.slices import Services, Slice
    from lapel.settings import Settings

# Connections are few, so a wait for a row lock ends, and frees its connection, before the request times out.
_LOCK_SECONDS = 4.0
# Answers that begin while the server stops get this long to end, after the requests. The supervisor waits a
# little longer than requests get.
_LATE_ANSWERS_SECONDS = 0.1


class Server:
    """Opens everything when the lifespan starts, and routes requests to the API, the store or /metrics."""

    def __init__(
        self,
        settings: Settings,
        stop: asyncio.Event,
        *,
        clock: Clock | None = None,
        slices: Sequence[Slice] = app.SLICES,
    ) -> None:
        """`stop` is set when the server begins to stop."""
        self._settings = settings
        self._stop = stop
        self._slices = slices
        self._clock = clock
        self._open = AsyncExitStack()
        self._api: Api | None = None
        self._metrics: Metrics | None = None
        self._store = mounted_store(settings)
        self.ports: Ports | None = None
        self.services: Services | None = None

    async def start(self) -> None:
        """Open the ports and compile the operations.

        Raises StoreUnavailable when there are no store credentials, and asyncpg's errors when the database
        cannot be reached.
        """
        ports = await self._open.enter_async_context(
            open_ports(
                self._settings,
                clock=self._clock,
                patience=RESTART_PATIENCE,
                connections=API_CONNECTIONS,
                lock_seconds=_LOCK_SECONDS,
            )
        )
        self.ports = ports
        use = KeyUse(ports.database)
        await self._open.enter_async_context(use)
        self.services = app.open_services(ports, self._slices)
        self._open.push_async_callback(self.services.aclose)
        # Registered after the ports, so called before they are closed.
        self._open.push_async_callback(self.services[Answers].drain, _LATE_ANSWERS_SECONDS)
        # Answers get as long as requests, and from the same moment, whether or not a request waits for them.
        draining = asyncio.create_task(self._drain(self.services[Answers]))
        self._open.push_async_callback(_ended, draining, self._stop)
        logs = self.services[Logs]
        ports.revocations.listen_also(logs.channel, logs.hear)
        await ports.revocations.start()
        settings = self._settings
        kinds = [kind for each in self._slices for kind in each.token_kinds]
        holders = {kind.name: kind.bucket for kind in kinds if kind.bucket is not None}
        self._api = Api(
            self.services.operations,
            authenticate=Authenticator(
                ports.database,
                ports.clock,
                ports.hasher,
                ports.revocations,
                use.record,
                kinds=kinds,
                scopes=[scope for each in self._slices for scope in each.scopes],
            ),
            effects=Effects(ports.database, ports.sealer, ports.clock),
            clock=ports.clock,
            ids=ports.ids,
            limiter=await self._open.enter_async_context(
                open_limiter(ports.settings, ports.database.dsn, ports.clock, holders)
            ),
            observe=observe_request,
            request_log=logs,
            body_limit=settings.body_limit,
            answer_timeout=settings.answer_timeout,
            trusted_proxies=settings.trusted_proxies,
            room=Room(ports.disk, RowQuota(ports.database, settings.rows_limit)),
            mounts=self.services.mounts(),
            id_prefixes={name: prefix for each in self._slices for name, prefix in each.ids.items()},
        )
        self._open.push_async_callback(self._api.close)
        self._metrics = Metrics(ports)

    async def stop(self) -> None:
        """Close everything that `start` opened."""
        try:
            await self._open.aclose()
        finally:
            ANSWERS.write()

    async def _drain(self, answers: Answers) -> None:
        await self._stop.wait()
        await answers.drain(DRAIN)

    @property
    def api(self) -> Api:
        """The compiled operations, between `start` and `stop`. Raises RuntimeError before `start`."""
        if self._api is None:
            raise RuntimeError("the server was not started")
        return self._api

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Handles one request, or the lifespan."""
        if scope["type"] == "lifespan":
            return self._lifespan(receive, send)
        scope["path"] = routed_path(scope)
        return self._target(scope)(scope, receive, send)

    def _target(self, scope: Scope) -> App:
        if self._store is not None and self._store.claims(scope):
            return self._store.app
        if scope["path"] == "/metrics" and self._metrics is not None:
            return self._metrics
        return self.api

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.start()
                except Exception as error:  # noqa: BLE001 - uvicorn ends the process with this message
                    await send(
                        {"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"}
                    )
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return


class MountedStore:
    """The embedded store beside the API: found by its own host name if it has one, else by path."""

    def __init__(self, store: App, *, host: str | None, prefix: str) -> None:
        self.app = store
        self._host = host.encode() if host else None
        self._prefix = prefix.rstrip("/") + "/"

    def claims(self, scope: Scope) -> bool:
        """Whether this request is for the store."""
        if self._host is not None:
            return any(value.lower() == self._host for name, value in scope["headers"] if name == b"host")
        return scope["path"].startswith(self._prefix)


def mounted_store(settings: Settings) -> MountedStore | None:
    """The embedded store of this process; None when the objects are in another store."""
    if not settings.uses_embedded_store or not settings.s3_access_key_id or not settings.s3_secret_access_key:
        return None
    store, api = urlsplit(settings.store_url), urlsplit(settings.base_url)
    host = host_header(store)
    own_host = host != host_header(api)
    application = create_store_app(
        settings.data_dir / "objects",
        {settings.s3_access_key_id: settings.s3_secret_access_key},
        clock=SystemClock(),  # other clients of the store sign with the real time
        region=settings.s3_region,
        path_prefix=store.path.rstrip("/"),
        buckets=(settings.s3_bucket,),
        min_free_bytes=settings.min_free_bytes,
        ceilings=settings.media_ceilings,
        elsewhere=links_of(settings.store_url, all_content_types()),
        observe=observe_request,
    )
    return MountedStore(application, host=host if own_host else None, prefix=store.path)


async def _ended(draining: asyncio.Task[None], stop: asyncio.Event) -> None:
    """Wait until the answers are drained. A server that never ran does not stop."""
    if not stop.is_set():
        draining.cancel()
    await asyncio.gather(draining, return_exceptions=True)


def create_app(settings: Settings, stop: asyncio.Event) -> Server:
    """The application for an ASGI server, which stops when `stop` is set."""
    return Server(settings, stop)
