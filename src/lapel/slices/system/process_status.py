"""The ASGI application of a process that serves no API: `/health`, `/health/ready` and `/metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.errors import ApiError, MethodNotAllowed, NotFound
from lapel.foundation.http.responses import refuse
from lapel.slices.system.metrics import Metrics, send_small
from lapel.slices.system.service import Probe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lapel.foundation.core.asgi import Receive, Scope, Send
    from lapel.foundation.http.calls import Reply
    from lapel.foundation.http.responses import Headers
    from lapel.foundation.ports import Ports
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
        if scope["path"] == "/metrics":
            await self._metrics(scope, receive, send)
            return
        request_id = self._ids.new("req")
        try:
            asked = self._find_check(scope["path"])
            if scope["method"] not in {"GET", "HEAD"}:
                raise MethodNotAllowed(("GET", "HEAD"))
            status, headers, content = _encode_reply(await asked())
        except ApiError as error:
            status, headers, content = refuse(error, request_id, as_problem=False)
        await send_small(send, request_id, status, headers, content)

    def _find_check(self, path: str) -> Callable[[], Awaitable[Reply[Health] | Reply[Readiness]]]:
        match path:
            case "/health":
                return self._probe.health
            case "/health/ready":
                return self._probe.readiness
            case _:
                raise NotFound("This process serves /health, /health/ready and /metrics.")


def _encode_reply(reply: Reply[Health] | Reply[Readiness]) -> tuple[int, Headers, bytes]:
    own = tuple((name.lower().encode(), value.encode()) for name, value in reply.headers)
    return reply.status or 200, ((b"content-type", b"application/json"), *own), _encode(reply.body)
