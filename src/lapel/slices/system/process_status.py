"""The ASGI application of a process that serves no API: `/health`, `/health/ready` and `/metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.asgi import routed_path
from lapel.foundation.core.errors import MethodNotAllowed, NotFound
from lapel.slices.system.metrics import Metrics
from lapel.slices.system.process_metrics import answer_small
from lapel.slices.system.service import Probe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lapel.foundation.core.asgi import Receive, Scope, Send
    from lapel.foundation.http.calls import Reply
    from lapel.foundation.ports import Ports
    from lapel.slices.system.process_metrics import SmallAnswer
    from lapel.slices.system.wire import Health, Readiness

_encode = msgspec.json.Encoder().encode


class ProcessStatus:
    """Answers as the API does at the same paths, and 404 at every other one."""

    def __init__(self, ports: Ports) -> None:
        self._ids = ports.ids
        self._metrics = Metrics(ports)
        self._probe = Probe(ports)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        scope["path"] = routed_path(scope)
        if scope["path"] == "/metrics":
            await self._metrics(scope, receive, send)
            return
        await answer_small(scope, send, self._ids.new("req"), self._check(scope))

    async def _check(self, scope: Scope) -> SmallAnswer:
        """What the check of this path says. Raises ApiError for another path or method."""
        asked = self._find_check(scope["path"])
        if scope["method"] not in {"GET", "HEAD"}:
            raise MethodNotAllowed(("GET", "HEAD"))
        return _encode_reply(await asked())

    def _find_check(self, path: str) -> Callable[[], Awaitable[Reply[Health] | Reply[Readiness]]]:
        match path:
            case "/health":
                return self._probe.health
            case "/health/ready":
                return self._probe.readiness
            case _:
                raise NotFound("This process serves /health, /health/ready and /metrics.")


def _encode_reply(reply: Reply[Health] | Reply[Readiness]) -> SmallAnswer:
    own = tuple((name.lower().encode(), value.encode()) for name, value in reply.headers)
    return reply.status or 200, ((b"content-type", b"application/json"), *own), _encode(reply.body)
