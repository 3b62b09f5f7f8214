"""The types of ASGI, as loose as in its specification: callables and dictionaries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
InThread: TypeAlias = Callable[[Callable[[], int]], Awaitable[int]]
"""Calls a function in a thread. If it is cancelled, it nevertheless waits for the function to end."""


HANG_UP = "lapel.hang_up"
"""A key in the scope of a request from Lapel's own listener. Its value closes the connection at once."""


IS_GONE = "lapel.is_gone"
"""A key in the same scope. Its value is a function that returns whether the client has disconnected."""


STOPPING = "lapel.stopping"
"""A key in the same scope. Its value is an asyncio.Event that is set when the server begins to stop."""


INSIDE = "lapel.inside"
"""A key in the scope of a request that a mounted application makes for its caller. Its value is True."""


DIRECT = "lapel.direct"
"""A key in the same scope. Its value moves bytes of large bodies in threads of the application: see
`DirectTransfer` of hosting."""


CALLED = "lapel.called"
"""A key in the scope of a request that the API gives to a mounted application. Its value is a `Called`."""


@dataclass(frozen=True, slots=True)
class Called:
    """A request that the API has admitted: its caller and its id."""

    actor: Actor
    request_id: str


class ClientGone(Exception):  # it is no error of ours
    """The client disconnected before its request was complete."""
