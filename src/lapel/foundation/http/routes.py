"""Makes the operations of a slice: the routes' common properties are given once, and each line adds its own.

    devices = Routes("Devices", read=Access("devices:read", READERS, "filter"), write=Access("devices:write"))
    devices.get("/v1/devices/{device_id}", "get_device", Device).plain(
        "Read a device", lambda call: service.read(call.actor, call.id)
    )

`get`, `post`, `put`, `patch` and `delete` name the structs. Then one of `plain`, `stored`, `lasting`,
`form`, `direct`, `stream` and `content` takes the handler: by then the type checker knows the type of the
handler's argument.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING, Generic, Literal, TypedDict, Unpack

from lapel.foundation.http.authorization import Access
from lapel.foundation.http.calls import (
    Body,
    Call,
    Content,
    DirectCall,
    FormCall,
    LastingCall,
    NoBody,
    NoQuery,
    Query,
    Reply,
    StreamCall,
)
from lapel.foundation.http.operations import (
    AnyHandler,
    DirectHandler,
    FormHandler,
    LastingHandler,
    Operation,
    PlainHandler,
    Response,
    StoredHandler,
    StreamHandler,
)

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.core.errors import ApiError
    from lapel.foundation.core.rate_limit import RateLimit
    from lapel.foundation.http.calls import StoredCall
    from lapel.foundation.http.input.forms import FormFile
    from lapel.foundation.http.operations import Method


class RouteOptions(TypedDict, total=False):
    """Properties that only a few operations have; see `Operation`.

    Defaults: `natural` is true for PUT and PATCH and false for other methods; `status` is 200, or 204 without
    a response.
    """

    status: int
    also: tuple[int, ...]
    errors: tuple[type[ApiError], ...]
    natural: bool
    bucket: RateLimit
    slow: bool
    audit: str
    unaudited: str


@dataclass(frozen=True, slots=True)
class Route(Generic[Query, Body, Response]):
    """A route with its structs, still without a handler."""

    tag: str
    access: Access
    method: Method
    path: str
    name: str
    query: type[Query]
    body: type[Body]
    response: type[Response]

    def plain(
        self,
        summary: str,
        run: Callable[[Call[Query, Body]], Awaitable[Response | Reply[Response]]],
        description: str = "",
        *,
        head: Callable[[Call[Query, Body]], Awaitable[Response | Reply[Response]]] | None = None,
        sized: Callable[[Call[Query, Body]], Awaitable[int]] | None = None,
        **options: Unpack[RouteOptions],
    ) -> Operation:
        """The operation of a PlainHandler."""
        handler = PlainHandler(
            query=self.query, body=self.body, response=self.response, run=run, head=head, sized=sized
        )
        return self._operation(handler, summary, description, options)

    def stored(
        self,
        summary: str,
        run: Callable[[StoredCall[Query, Body]], Awaitable[Response | Reply[Response]]],
        description: str = "",
        *,
        replay: Callable[[Call[Query, Body], Response], Awaitable[Response]] | None = None,
        **options: Unpack[RouteOptions],
    ) -> Operation:
        """The operation of a StoredHandler."""
        handler = StoredHandler(
            query=self.query, body=self.body, response=self.response, run=run, replay=replay
        )
        return self._operation(handler, summary, description, options)

    def lasting(
        self,
        summary: str,
        run: Callable[
            [LastingCall[Query, Body]], Awaitable[Response | Reply[Response] | AsyncGenerator[bytes]]
        ],
        description: str = "",
        **options: Unpack[RouteOptions],
    ) -> Operation:
        """The operation of a LastingHandler."""
        handler = LastingHandler(query=self.query, body=self.body, response=self.response, run=run)
        return self._operation(handler, summary, description, options)

    def form(
        self,
        summary: str,
        run: Callable[[FormCall[Query, Body]], Awaitable[Response | Reply[Response]]],
        description: str = "",
        *,
        files: tuple[FormFile, ...],
        **options: Unpack[RouteOptions],
    ) -> Operation:
        """The operation of a FormHandler."""
        handler = FormHandler(query=self.query, body=self.body, response=self.response, run=run, files=files)
        return self._operation(handler, summary, description, options)

    def direct(
        self,
        summary: str,
        direct: Callable[[DirectCall[Query, Body]], Awaitable[tuple[Actor, Response] | None]],
        run: Callable[[Call[Query, Body]], Awaitable[Response | Reply[Response]]],
        description: str = "",
        **options: Unpack[RouteOptions],
    ) -> Operation:
        """The operation of a DirectHandler."""
        handler = DirectHandler(
            query=self.query, body=self.body, response=self.response, run=run, direct=direct
        )
        return self._operation(handler, summary, description, options)

    def content(
        self,
        summary: str,
        run: Callable[[Call[Query, Body]], Awaitable[Content | Reply[Content]]],
        description: str = "",
        *,
        answer: Literal["json", "html", "file"],
        file_types: tuple[str, ...] = (),
        sized: Callable[[Call[Query, Body]], Awaitable[int]] | None = None,
        **options: Unpack[RouteOptions],
    ) -> Operation:
        """The operation of a PlainHandler that answers bytes."""
        handler: PlainHandler[Query, Body, Content] = PlainHandler(
            query=self.query, body=self.body, response=bytes, run=run, sized=sized
        )
        return self._operation(handler, summary, description, options, answer, file_types)

    def stream(
        self,
        summary: str,
        run: Callable[[StreamCall[Query, Body]], AsyncGenerator[bytes]],
        description: str = "",
        **options: Unpack[RouteOptions],
    ) -> Operation:
        """The operation of a StreamHandler."""
        handler = StreamHandler(query=self.query, body=self.body, response=bytes, run=run)
        return self._operation(handler, summary, description, options, "stream")

    def _operation(
        self,
        handler: AnyHandler,
        summary: str,
        description: str,
        options: RouteOptions,
        answer: Literal["json", "html", "file", "stream"] = "json",
        file_types: tuple[str, ...] = (),
    ) -> Operation:
        empty = handler.response is NoneType
        if empty and self.method == "GET":
            raise TypeError(f"GET {self.path} has no response: name its struct, or use `content`.")
        options.setdefault("natural", self.method in ("PUT", "PATCH"))
        options.setdefault("status", 204 if empty else 200)
        return Operation(
            method=self.method,
            path=self.path,
            name=self.name,
            summary=summary,
            tag=self.tag,
            access=self.access,
            handler=handler,
            answer="empty" if empty else answer,
            file_types=file_types,
            description=description,
            **options,
        )


@dataclass(frozen=True, slots=True)
class Routes:
    """Makes routes with one tag: `read` is the access of a GET, `write` of any other method."""

    tag: str
    read: Access
    write: Access

    def get(
        self,
        path: str,
        name: str,
        response: type[Response] = NoneType,
        query: type[Query] = NoQuery,
        *,
        access: Access | None = None,
    ) -> Route[Query, NoBody, Response]:
        """A GET, which also answers HEAD. If `response` is not given, call `content` on the result."""
        return Route(self.tag, access or self.read, "GET", path, name, query, NoBody, response)

    def delete(
        self,
        path: str,
        name: str,
        response: type[Response] = NoneType,
        query: type[Query] = NoQuery,
        body: type[Body] = NoBody,
        *,
        access: Access | None = None,
    ) -> Route[Query, Body, Response]:
        """A DELETE; 204 without `response`."""
        return Route(self.tag, access or self.write, "DELETE", path, name, query, body, response)

    def post(
        self,
        path: str,
        name: str,
        response: type[Response],
        body: type[Body] = NoBody,
        *,
        access: Access | None = None,
    ) -> Route[NoQuery, Body, Response]:
        """A POST."""
        return Route(self.tag, access or self.write, "POST", path, name, NoQuery, body, response)

    def put(
        self, path: str, name: str, response: type[Response], body: type[Body]
    ) -> Route[NoQuery, Body, Response]:
        """A PUT."""
        return Route(self.tag, self.write, "PUT", path, name, NoQuery, body, response)

    def patch(
        self, path: str, name: str, response: type[Response], body: type[Body]
    ) -> Route[NoQuery, Body, Response]:
        """A PATCH."""
        return Route(self.tag, self.write, "PATCH", path, name, NoQuery, body, response)


async def created(answer: Awaitable[tuple[Response, bool]]) -> Reply[Response]:
    """201 for a new resource, 200 for an existing one."""
    response, is_new = await answer
    return Reply(response, status=201 if is_new else 200)


async def ready(response: Response) -> Response:
    """Returns `response`: an awaitable for an answer that needs no waiting."""
    return response
