"""Mounted applications: admitted and read like any other request; the application makes the answer.

The application's own headers are dropped, except those of the list below: the API adds its own. An answer of
`text/event-stream` is sent as it is made; any other answer is sent once it is whole.

Protocol: ASGI 3, "HTTP & WebSocket ASGI Message Format" (https://asgi.readthedocs.io).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from lapel.foundation.core.asgi import CALLED, Called
from lapel.foundation.core.errors import InternalError
from lapel.foundation.http.input.headers import check_version
from lapel.foundation.http.strategies import idempotency
from lapel.foundation.http.strategies.exchange import StreamedAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from lapel.foundation.core.asgi import App, Message, Receive, Scope
    from lapel.foundation.http.operations import Mount, MountedApp
    from lapel.foundation.http.responses import Headers
    from lapel.foundation.http.strategies.exchange import Encoded, Exchange
    from lapel.foundation.http.strategies.strategy import Checks

_KEPT = frozenset((b"content-type", b"x-accel-buffering"))


class Mounted:
    """Answers the requests to one mounted application."""

    def __init__(self, mount: Mount, checks: Checks, api: App) -> None:
        """`api`: the application that the mounted one may call."""
        self.operation = mount
        self.parameters: tuple[str, ...] = ()
        self.patience = mount.patience
        self._checks = checks
        self._app: MountedApp = mount.make(api)

    async def answer(
        self, exchange: Exchange, params: Mapping[str, str], receive: Receive
    ) -> Encoded | StreamedAnswer:
        """Answer a request. Raises what the checks and the application raise."""
        del params  # the path has none
        checks, mount = self._checks, self.operation
        await checks.enter(exchange, mount)
        content = await checks.read(exchange, receive)
        check_version(exchange.headers.get(b"bota-version"))
        idempotency.read_key(exchange.headers.get(b"idempotency-key"))
        called = Called(exchange.actor, exchange.request_id)
        running = _Answering(self._app, {**exchange.scope, CALLED: called}, content)
        try:
            status, headers = await running.head()
            if dict(headers).get(b"content-type", b"").startswith(b"text/event-stream"):
                return StreamedAnswer(
                    status, lambda: headers, _Pieces(running), lambda: checks.check_again(exchange, mount)
                )
            body = await running.whole()
        except BaseException:
            await running.stop()
            raise
        return status, headers if body else (), body

    async def close(self) -> None:
        """End what the application has begun."""
        await self._app.close()


class _Answering:
    """One request that an application answers in a task of its own."""

    def __init__(self, app: MountedApp, scope: Scope, content: bytes) -> None:
        self._content: bytes | None = content
        # Its messages, then None. An answer is no larger than its application makes it, so none is refused.
        self._sent: asyncio.Queue[Message | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._run(app, scope), name="mounted")

    async def head(self) -> tuple[int, Headers]:
        """Status and headers of the answer. Raises what the application raises before it."""
        start = await self._next()
        if start is None or start["type"] != "http.response.start":
            raise InternalError("The application gave no answer.")
        kept = tuple((name, value) for name, value in start["headers"] if name in _KEPT)
        return int(start["status"]), kept

    async def whole(self) -> bytes:
        """The body. Raises what the application raises."""
        made: list[bytes] = []
        while (message := await self._next()) is not None:
            made.append(message.get("body", b""))
        return b"".join(made)

    async def piece(self) -> bytes | None:
        """The next piece of the body that is not empty; None at its end."""
        while (message := await self._next()) is not None:
            if piece := message.get("body", b""):
                return piece
        return None

    async def stop(self) -> None:
        """End the application's task."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self._task

    async def _next(self) -> Message | None:
        message = await self._sent.get()
        if message is None:
            await self._task  # raises its error
        return message

    async def _run(self, app: MountedApp, scope: Scope) -> None:
        try:
            await app(scope, self._receive, self._sent.put)
        finally:
            self._sent.put_nowait(None)

    async def _receive(self) -> Message:
        """The body as one message. When the client leaves, the task is cancelled instead of told."""
        content, self._content = self._content, None
        if content is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": content, "more_body": False}


class _Pieces(AsyncGenerator[bytes]):
    """The body as it is made. Closing it ends the application's task, also if nothing was read yet: a
    generator's own `finally` would not run then."""

    def __init__(self, running: _Answering) -> None:
        self._running = running

    async def asend(self, value: None) -> bytes:
        """The next piece. Raises what the application raises."""
        del value
        piece = await self._running.piece()
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> bytes:
        """End the application's task, and raise the error."""
        del val, tb
        await self._running.stop()
        raise typ
