"""`/mcp`: Streamable HTTP without sessions, so that any process of the API may answer any request.

The protocol is spoken by the package `mcp`. When the first request comes, a thread imports it and makes the
tools: this takes about as long as the rest of the start. The package sees a request only after the API has
admitted it and this module has read its message.

Source: "Transports", Model Context Protocol, revision 2025-11-25.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lapel.foundation.core.errors import Forbidden
from lapel.foundation.http.authorization import KEYS, Access
from lapel.foundation.http.operations import Mount
from lapel.slices.mcp.envelopes import BadMessage, read_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from lapel.foundation.core.actors import ActorKind
    from lapel.foundation.core.asgi import App, Message, Receive, Scope, Send
    from lapel.foundation.slices import Services
    from lapel.slices.mcp.mcp_server import McpServer

_CALLERS: frozenset[ActorKind] = KEYS | {"end_user"}
_JSON = ((b"content-type", b"application/json"),)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# A tool may take as long as the slowest operation, whose own deadline ends it.
_PATIENCE = 12.0


def mounts(services: Services) -> tuple[Mount, ...]:
    """The application at `/mcp`."""

    def make(api: App) -> McpApp:
        def server() -> McpServer:
            from lapel.slices.mcp.mcp_server import server_of  # noqa: PLC0415 - see the module's docstring

            return server_of(services, api)

        return McpApp(server, services.ports.settings.base_url)

    access = Access(None, _CALLERS, "filter")
    return (Mount(method="POST", path="/mcp", name="mcp", access=access, make=make, patience=_PATIENCE),)


class McpApp:
    """See MountedApp."""

    def __init__(self, make: Callable[[], McpServer], base_url: str) -> None:
        """`make` is called in a thread. `base_url`: of the API, for the origins of browsers."""
        self._make = make
        self._own_host = urlsplit(base_url).hostname
        self._opening: asyncio.Task[McpServer] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See MountedApp. Raises Forbidden for a page of another site."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        self._check_origin(headers.get(b"origin"))
        try:
            message = read_message((await receive())["body"])
        except BadMessage as error:
            await _answer(send, 400, error.answer())
            return
        if message is None:
            await _answer(send, 202, b"")
            return
        server = await self._server()
        await server.answer(scope, _replayed(message, receive), send)

    async def close(self) -> None:
        """See MountedApp."""
        if self._opening is not None:
            await asyncio.wait((self._opening,))
            if not _failed(self._opening):
                await self._opening.result().close()

    async def _server(self) -> McpServer:
        if self._opening is None or (self._opening.done() and _failed(self._opening)):
            # What outlives this request logs without its id.
            self._opening = asyncio.create_task(self._open(), name="mcp-open", context=Context())
        return await asyncio.shield(self._opening)

    async def _open(self) -> McpServer:
        server = await asyncio.to_thread(self._make)
        await server.open()
        return server

    def _check_origin(self, origin: bytes | None) -> None:
        """A browser says for which site it asks. A page has no token of its own, so this only keeps to the
        protocol, which asks servers to refuse other sites."""
        if origin is None:
            return
        try:
            parts = urlsplit(origin.decode("ascii"))
            host = parts.hostname
        except ValueError:
            host = None
        else:
            # An origin has a scheme, a host and a port, and nothing else (RFC 6454, section 6.2).
            if "@" in parts.netloc or parts.path or parts.query or parts.fragment:
                host = None
        if host is None or host not in (self._own_host, *_LOOPBACK):
            raise Forbidden("Pages of other sites may not call this endpoint.")


def _failed(task: asyncio.Task[McpServer]) -> bool:
    return task.cancelled() or task.exception() is not None


def _replayed(message: bytes, receive: Receive) -> Receive:
    """`receive` whose first message is the body again."""
    left = [message]

    async def replay() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return replay


async def _answer(send: Send, status: int, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": _JSON})
    await send({"type": "http.response.body", "body": body, "more_body": False})
