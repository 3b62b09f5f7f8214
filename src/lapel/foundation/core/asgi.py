"""The types of ASGI, as loose as in its specification: the callables, and dictionaries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


HANG_UP = "lapel.hang_up"
"""In the scope of a request over our own protocol: a function that ends its connection at once."""


IS_GONE = "lapel.is_gone"
"""In the same scope: a function that says whether the client has hung up."""


class ClientGone(Exception):  # it is no error of ours
    """The client hung up before its request was whole."""
