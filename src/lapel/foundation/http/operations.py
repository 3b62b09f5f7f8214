"""Operations: every route of the API, described as data.

Every route is one `Operation`. The router, the one request path (`api.py`), the OpenAPI document, the
authorization matrix test and the schema check of every answer are made from the list of operations.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import msgspec

from lapel.foundation.core.actors import Actor, ActorKind
from lapel.foundation.core.errors import ApiError
from lapel.foundation.core.scopes import Scope

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Params: TypeAlias = Mapping[str, str]


class NoBody(msgspec.Struct, frozen=True):
    """The body of an operation that takes none: empty, or any JSON object."""


class NoQuery(msgspec.Struct, frozen=True):
    """The query of an operation that takes none; unknown parameters are ignored."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is more than a struct with the operation's usual status.

    A generator's pieces are sent as they are made, and only a GET may answer with one. An error that is
    raised before the handler returns the Reply is answered as usual; a later one breaks the answer off.
    `committed` is for `stored` operations: it is awaited after their transaction, before the answer.
    """

    body: msgspec.Struct | bytes | AsyncGenerator[bytes] | None
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    committed: Callable[[], Awaitable[None]] | None = None


Answer: TypeAlias = "msgspec.Struct | Reply | None"
# `(actor, path parameters, query, body)`; with idempotency `stored`, the connection of the
# transaction that also stores the answer comes first. The query and body are of the declared
# structs, which the type system cannot follow through a list of mixed operations: hence `...`.
Handler: TypeAlias = Callable[..., Awaitable[Answer]]
# `(hash of a device token, path parameters, query, body)`; returns None when no device has this token.
Direct: TypeAlias = Callable[..., Awaitable["tuple[Actor, Answer] | None"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FormFile:
    """A file in the form that an operation takes: 1 to `max_bytes` bytes; streamed, never held whole.

    The client's file name must end in `suffix`, in upper or lower case.
    """

    name: str
    suffix: str
    max_bytes: int
    required: bool
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One route.

    A key needs `scope` and all of `more_scopes`. `callers` may also name device, upload and end-user
    tokens, which need no scope. With `scope` None and no `callers` the route is public.
    `end_user_keys` says what a key scoped to one end user may do here: `filter` (lists and reads show
    that end user only), `imply` (the end user is taken from the key), `deny` (403).
    """

    method: Method
    path: str
    name: str
    summary: str
    tag: str
    handler: Handler
    scope: Scope | None
    more_scopes: tuple[Scope, ...] = ()
    callers: frozenset[ActorKind] = frozenset({"key"})
    end_user_keys: Literal["filter", "imply", "deny"] = "deny"
    query: type[msgspec.Struct] = NoQuery
    body: type[msgspec.Struct] = NoBody
    # With files the request is `multipart/form-data`: `body` declares its text fields, and the handler
    # reads it from a `forms.Form[body]`. Never `stored`: to recognize a repeat, the server would have to
    # compare the files.
    files: tuple[FormFile, ...] = ()
    response: type[msgspec.Struct] | None = None
    # "file": the Reply's headers carry the content type, which is one of `file_types`.
    answer: Literal["json", "empty", "text", "html", "file"] = "json"
    file_types: tuple[str, ...] = ()
    status: int = 200
    # `also`: other statuses below 400 that a Reply may carry. `errors`: refusals beyond the usual ones.
    also: tuple[int, ...] = ()
    errors: tuple[type[ApiError], ...] = ()
    idempotency: Literal["stored", "natural", "none"] = "none"
    # For `stored`: renews the stored answer of a repeated request (upload-url signs its link anew).
    # Called as `(actor, path parameters, stored answer's struct)`.
    replay: Callable[..., Awaitable[msgspec.Struct]] | None = None
    # A rate limit in addition to the usual ones.
    bucket: Literal["upload_url", "transcription"] | None = None
    # For a GET that changes something: HEAD may change nothing, and calls this instead.
    head: Handler | None = None
    # For what devices call all the time: authenticates the caller in the statement that does the work. If the
    # statement finds no device, the request goes the usual way, which says what is wrong. So does a request
    # whose body may be large, because large bodies are read for authenticated callers only. Never `stored`.
    direct: Direct | None = None
    # For answers that may be large: estimates the size in bytes, so that a large answer is made only once
    # there is room. Takes the handler's arguments. Never `stored`: its transaction would stay open meanwhile.
    sized: Callable[..., Awaitable[int]] | None = None
    # True when a device token whose replacement is not used yet may still call this.
    refreshing_tokens: bool = False
    # True when the answer waits until objects are examined: then it may take longer than others.
    slow: bool = False
    description: str = ""

    @property
    def public(self) -> bool:
        """Whether the route needs no token."""
        return self.scope is None and not self.callers

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the path's parameters, in order."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


@dataclass(slots=True)
class _Node:
    words: dict[str, _Node] = field(default_factory=dict[str, "_Node"])
    any: _Node | None = None
    methods: dict[str, Any] = field(default_factory=dict[str, Any])


class Router:
    """A trie with a dict per path segment: less than a microsecond for any of a hundred routes.

    A literal segment wins over a parameter (`/devices/stats` over `/devices/{device_id}`).
    """

    def __init__(self, routes: Iterable[tuple[str, str, object]]) -> None:
        """`routes` are (method, path template, what to return); GET also answers HEAD.

        Raises ValueError when a method and path are declared twice.
        """
        self._root = _Node()
        for method, path, target in routes:
            node = self._root
            for segment in path.strip("/").split("/"):
                if segment.startswith("{"):
                    node.any = node.any or _Node()
                    node = node.any
                else:
                    node = node.words.setdefault(segment, _Node())
            if method in node.methods:
                raise ValueError(f"{method} {path} is declared twice")
            node.methods[method] = target
            if method == "GET":
                node.methods["HEAD"] = target

    def find(self, path: str) -> tuple[dict[str, Any], list[str]] | None:
        """The methods of a path and the values of its parameters; None when it is unknown."""
        segments = path[1:].split("/")
        # Where to go on, the latest last, when a literal segment leads to no route: at its parameter instead.
        untried: list[tuple[_Node, int, list[str]]] = [(self._root, 0, [])]
        while untried:
            node, at, values = untried.pop()
            for index, segment in enumerate(segments[at:], at + 1):
                word, parameter = node.words.get(segment), node.any if segment else None
                if word is None:
                    if parameter is None:
                        break
                    values.append(segment)
                    node = parameter
                else:
                    if parameter is not None:
                        untried.append((parameter, index, [*values, segment]))
                    node = word
            else:
                if node.methods:
                    return node.methods, values
        return None
