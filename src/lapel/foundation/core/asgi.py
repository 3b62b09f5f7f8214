"""The types of ASGI, as loose as in its specification: callables and dictionaries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


HANG_UP = "lapel.hang_up"
"""In the scope of a request that our own listener received: a function that closes the connection at once."""


IS_GONE = "lapel.is_gone"
"""In the same scope: a function that returns whether the client has disconnected."""


class ClientGone(Exception):  # it is no error of ours
    """The client disconnected before its request was complete."""
