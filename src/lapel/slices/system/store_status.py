"""`/health`, `/health/ready` and `/metrics` of a process that serves the embedded store alone."""

from __future__ import annotations

import asyncio
import os
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from lapel import __version__
from lapel.foundation.build_info import commit
from lapel.foundation.core.asgi import routed_path
from lapel.foundation.core.disk_guard import DiskGuard
from lapel.slices.system.process_metrics import ProcessMetrics, answer_small
from lapel.slices.system.shared_look import SharedLook
from lapel.slices.system.wire import StoreHealth, StoreReadiness

if TYPE_CHECKING:
    from lapel.foundation.core.asgi import App, Receive, Scope, Send
    from lapel.foundation.core.ids import Ids
    from lapel.settings import Settings
    from lapel.slices.system.process_metrics import SmallAnswer

_PATHS = frozenset(("/health", "/health/ready", "/metrics"))
_encode = msgspec.json.Encoder().encode


class StoreStatus:
    """Answers at the three paths, and leaves everything else to the store.

    Each call to the store has a signature, also one to a bucket of the name `health`. What has none would be
    refused there.
    """

    def __init__(self, store: App, settings: Settings, ids: Ids) -> None:
        self._store = store
        self._ids = ids
        self._metrics = ProcessMetrics(settings, ids)
        objects = settings.data_dir / "objects"
        self._bucket = objects / settings.s3_bucket
        self._disk = DiskGuard(objects, settings.min_free_bytes, part=1.0)
        self._folder = SharedLook(lambda: asyncio.to_thread(self._look), "store-status")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if not _asks_for_status(scope):
            await self._store(scope, receive, send)
        elif routed_path(scope) == "/metrics":
            await self._metrics(scope, receive, send)
        else:
            await answer_small(scope, send, self._ids.new("req"), self._check(scope))

    async def _check(self, scope: Scope) -> SmallAnswer:
        """The state of the store; 503 if no request can be served."""
        state = await self._state()
        serves = state.status != "unready"
        body = state if routed_path(scope) == "/health/ready" else _health(state)
        retry = () if serves else ((b"retry-after", b"1"),)
        status = HTTPStatus.OK if serves else HTTPStatus.SERVICE_UNAVAILABLE
        return status, ((b"content-type", b"application/json"), *retry), _encode(body)

    async def _state(self) -> StoreReadiness:
        """The disk may hang."""
        try:
            return await self._folder.get()
        except TimeoutError:
            return _readiness(serves=False, takes=False)

    def _look(self) -> StoreReadiness:
        serves = os.access(self._bucket, os.R_OK | os.X_OK)
        # A disk that the kernel has made read-only takes no object either.
        takes = os.access(self._bucket, os.W_OK) and not self._disk.low()
        return _readiness(serves=serves, takes=takes)


def _asks_for_status(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"} or routed_path(scope) not in _PATHS:
        return False
    authorization = dict(scope["headers"]).get(b"authorization", b"")
    return b"X-Amz-" not in scope["query_string"] and not authorization.startswith(b"AWS4-")


def _readiness(*, serves: bool, takes: bool) -> StoreReadiness:
    return StoreReadiness(
        status="unready" if not serves else "ready" if takes else "degraded",
        store="connected" if serves else "disconnected",
        disk="ok" if takes else "uploads_refused",
        version=__version__,
        commit=commit(),
    )


def _health(state: StoreReadiness) -> StoreHealth:
    return StoreHealth("unhealthy" if state.status == "unready" else "healthy", state.store)
