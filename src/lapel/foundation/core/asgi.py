"""The types of ASGI, as loose as in its specification: callables and dictionaries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    import asyncio

    from lapel.foundation.core.actors import Actor

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
InThread: TypeAlias = Callable[[Callable[[], int]], Awaitable[int]]
"""Calls a function in a thread. If it is cancelled, it nevertheless waits for the function to end."""


class DirectBytes(Protocol):
    """Moves bytes of a large body in threads of the application: `DirectTransfer` of hosting."""

    async def receive_into(self, buffer: memoryview, in_thread: InThread) -> int:
        """Fill the buffer with the next bytes of the body; returns their number. After 0, `receive`."""
        ...

    async def send_file(self, file: int, offset: int, length: int, in_thread: InThread) -> int:
        """Send bytes of a file as the next bytes of the body; returns their number. After 0, `send`."""
        ...


CONNECTION = "lapel.connection"
"""A key in the scope of a request from Lapel's own listener. Its value is a `ClientConnection`."""


class ClientConnection(Protocol):
    """The connection that a request came from."""

    @property
    def stopping(self) -> asyncio.Event:
        """Set when the server begins to stop."""
        ...

    def direct(self) -> DirectBytes:
        """What moves bytes of the request that is being answered."""
        ...

    def whole_body(self, scope: Scope) -> bytes | None:
        """The whole body of the request with this scope, in place of the first `receive`; None if `receive`
        must wait for it."""
        ...

    def answer(
        self, scope: Scope, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes | memoryview
    ) -> bool:
        """Send the whole answer of the request with this scope, in place of `send`. False, with no effect, if
        `send` must do it."""
        ...

    def hang_up(self, scope: Scope) -> None:
        """Close the connection at once; the answer of the request with this scope stays unfinished."""
        ...

    def is_gone(self, scope: Scope) -> bool:
        """Whether the client of the request with this scope has disconnected, or has its answer."""
        ...


INSIDE = "lapel.inside"
"""A key in the scope of a request that a mounted application makes for its caller. Its value is True."""


CALLED = "lapel.called"
"""A key in the scope of a request that the API gives to a mounted application. Its value is a `Called`."""


@dataclass(frozen=True, slots=True)
class Called:
    """A request that the API has admitted: its caller and its id."""

    actor: Actor
    request_id: str


class ClientGone(Exception):  # it is no error of ours
    """The client disconnected before its request was complete."""


def routed_path(scope: Scope) -> str:
    """The path of a request as it was sent. No route has a percent-encoded character, so none is decoded: a
    proxy whose rule for a path compares it as it was sent protects every spelling that reaches the route."""
    path: str = scope["path"]
    raw: bytes = scope.get("raw_path") or b""
    return raw.decode("latin-1") if b"%" in raw else path
