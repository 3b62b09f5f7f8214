"""What a process answers about itself: small answers, and the metrics that need no database.

Source: the documentation of prometheus_client.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from prometheus_client.core import GaugeMetricFamily

from lapel import __version__
from lapel.foundation.build_info import commit
from lapel.foundation.core.actors import ANONYMOUS
from lapel.foundation.core.errors import Forbidden, MethodNotAllowed, Unauthorized
from lapel.foundation.core.request_id import REQUEST_HEADERS, REQUEST_ID
from lapel.foundation.http.refusals import classify
from lapel.foundation.http.responses import refuse
from lapel.foundation.telemetry import (
    ANSWERS,
    METRICS_TYPE,
    observe_request,
    render_families,
    render_metrics,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from prometheus_client.core import Metric

    from lapel.foundation.core.asgi import Receive, Scope, Send
    from lapel.foundation.core.ids import Ids
    from lapel.foundation.http.responses import Headers
    from lapel.settings import Settings

SmallAnswer: TypeAlias = "tuple[int, Headers, bytes]"
"""Status, headers and content."""

_PROXIED = frozenset((b"forwarded", b"x-real-ip", b"via"))


class ProcessMetrics:
    """`GET /metrics` for Prometheus, of the processes of one `lapel serve`: an ASGI application of its own.

    It is no operation, because it needs the client's address, which handlers never see. It answers requests
    with `LAPEL_METRICS_TOKEN`, and requests from this machine (`is_local`). A project or a world is never
    named in a metric.
    """

    def __init__(self, settings: Settings, ids: Ids) -> None:
        self._settings = settings
        self._ids = ids
        commit()  # a process that is confined later cannot read it then

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's shape
        """Answer one request."""
        if scope["type"] != "http":
            return
        await answer_small(scope, send, self._ids.new("req"), self._render(scope))

    async def _render(self, scope: Scope) -> SmallAnswer:
        """The metrics. Raises ApiError for a caller who may not read them."""
        if scope["method"] not in {"GET", "HEAD"}:
            raise MethodNotAllowed(("GET", "HEAD"))
        self._admit(scope)
        ANSWERS.write()
        content = await asyncio.to_thread(render_metrics) + render_families(await self._counted())
        return 200, ((b"content-type", METRICS_TYPE.encode()),), content

    def _admit(self, scope: Scope) -> None:
        token = self._settings.metrics_token
        given = dict(scope["headers"]).get(b"authorization")
        if token is not None and given is not None:
            if hmac.compare_digest(given, b"Bearer " + token.encode()):
                return
            raise Unauthorized("This is not the token of `LAPEL_METRICS_TOKEN`.")
        if is_local(scope, self._settings.base_url):
            return
        if token is not None:
            raise Unauthorized("Give the token of `LAPEL_METRICS_TOKEN`: `Authorization: Bearer <token>`.")
        raise Forbidden(
            "Metrics are for this machine only, and not through a proxy. Set `LAPEL_METRICS_TOKEN` to read "
            "them elsewhere, or from a server with a public URL."
        )

    async def _counted(self) -> list[Metric]:
        """The metrics that are asked for now."""
        return [build_info()]


def build_info() -> Metric:
    """Which build answers."""
    build = GaugeMetricFamily(
        "lapel_build_info", "The build that answers; the value is 1.", labels=("version", "commit")
    )
    build.add_metric((__version__, commit() or ""), 1)
    return build


def is_local(scope: Scope, base_url: str) -> bool:
    """Whether a request certainly comes from a program on this machine, and not through a proxy.

    A proxy on this machine connects over loopback too. Some proxies add a header, some keep the public name
    in `Host`, and some do neither: nginx before 1.29.7 then uses HTTP/1.0. If the server has a public URL
    that is not on loopback, a proxy that does nothing of this may be in front of it: no request is local.
    """
    client = scope["client"]
    if client is None or scope["http_version"] == "1.0":  # None: a Unix socket
        return False
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    if any(name in _PROXIED or name.startswith(b"x-forwarded-") for name, _ in scope["headers"]):
        return False
    return _is_loopback(client[0]) and all(
        _on_loopback(url) for url in (base_url, *(f"//{each}" for each in hosts))
    )


def _on_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return host == "localhost" or host.endswith(".localhost") or _is_loopback(host)  # RFC 6761, section 6.3


def _is_loopback(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


async def answer_small(
    scope: Scope, send: Send, request_id: str, answer: Coroutine[None, None, SmallAnswer]
) -> None:
    """Send an answer that no cache may keep, or the refusal that `answer` raises. An error is logged."""
    began, code = time.perf_counter(), None
    REQUEST_ID.set(request_id)
    REQUEST_HEADERS.set(scope["headers"])
    try:
        status, headers, content = await answer
    except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
        refusal = classify(error)
        status, headers, content = refuse(refusal, request_id, as_problem=False)
        code = refusal.code
    if status >= HTTPStatus.BAD_REQUEST:
        observe_request(None, scope["method"], status, time.perf_counter() - began, ANONYMOUS, code)
    sent = [
        (b"x-request-id", request_id.encode()),
        *headers,
        (b"cache-control", b"no-store"),
        (b"content-length", str(len(content)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": sent, "trailers": False})
    await send({"type": "http.response.body", "body": content, "more_body": False})
