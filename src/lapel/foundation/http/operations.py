"""Operations: every route of the API, described as data.

Every route is one `Operation`. The router, the one request path (`api.py`), the OpenAPI document, the
authorization matrix test and the schema check of every answer are made from the list of operations.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, TypeVar

import msgspec

from lapel.foundation.http.calls import (
    AnswerBody,
    Body,
    Call,
    DirectCall,
    FormCall,
    LastingCall,
    Query,
    Reply,
    StoredCall,
    StreamCall,
)

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.core.asgi import App, Receive, Scope, Send
    from lapel.foundation.core.errors import ApiError
    from lapel.foundation.core.rate_limit import RateLimit
    from lapel.foundation.http.authorization import Access
    from lapel.foundation.http.input.forms import FormFile

# The field of an answer with which its reader needs no token.
_LINK = "download_url"
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Response = TypeVar("Response", bound=AnswerBody)
_Answer: TypeAlias = Awaitable[Response | Reply[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler(Generic[Query, Body, Response]):
    """The structs that an operation decodes, and its answer: a struct, None (empty), or bytes (not JSON)."""

    query: type[Query]
    body: type[Body]
    response: type[Response]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainHandler(Handler[Query, Body, Response]):
    """`run` gets the decoded request. When `run` returns, its effects are committed."""

    run: Callable[[Call[Query, Body]], _Answer[Response]]
    # For a GET that changes something: HEAD may change nothing, and calls this instead.
    head: Callable[[Call[Query, Body]], _Answer[Response]] | None = None
    # For answers that may be large: estimates the size in bytes, so that a large answer is made only once
    # there is room.
    sized: Callable[[Call[Query, Body]], Awaitable[int]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredHandler(Handler[Query, Body, Response]):
    """Called within a transaction, once for each Idempotency-Key.

    If the request has a key, the same transaction stores the answer under this key. `replay` renews the
    stored answer of a repeated request (upload-url signs a new link).
    """

    run: Callable[[StoredCall[Query, Body]], _Answer[Response]]
    replay: Callable[[Call[Query, Body], Response], Awaitable[Response]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FormHandler(Handler[Query, Body, Response]):
    """Reads `multipart/form-data` itself: `body` declares its text fields.

    Its answer is never stored: to recognize a repeat, the server would have to compare the files.
    """

    run: Callable[[FormCall[Query, Body]], _Answer[Response]]
    files: tuple[FormFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectHandler(Handler[Query, Body, Response]):
    """For the most frequent calls of devices: one SQL statement authenticates the caller and does the work.

    If `direct` finds no device, it returns None. The request then goes the usual way (authentication, then
    `run`), which answers with the exact error. A request whose body may be large goes the usual way from the
    start, because large bodies are read for authenticated callers only.
    """

    run: Callable[[Call[Query, Body]], _Answer[Response]]
    direct: Callable[[DirectCall[Query, Body]], Awaitable[tuple[Actor, Response] | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHandler(Handler[Query, Body, bytes]):
    """Answers with events as they happen, until the client leaves (`text/event-stream`).

    An error that the generator raises before its first piece is answered as usual. The generator must yield a
    piece at least every 15 seconds: before each piece the caller's token is checked again.
    """

    run: Callable[[StreamCall[Query, Body]], AsyncGenerator[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LastingHandler(Handler[Query, Body, Response]):
    """Works longer than a transaction may be open, such as a language model does: up to 100 s.

    `run` opens short transactions itself: the last one makes the effect and stores the answer under the
    request's claim. `run` answers with a struct, or with events until their end (`text/event-stream`).
    """

    run: Callable[[LastingCall[Query, Body]], Awaitable[Response | Reply[Response] | AsyncGenerator[bytes]]]


# Operations in one list have different structs. The type checker has compared each handler with its structs
# where the operation was made.
AnyHandler: TypeAlias = (
    PlainHandler[Any, Any, Any]
    | StoredHandler[Any, Any, Any]
    | FormHandler[Any, Any, Any]
    | DirectHandler[Any, Any, Any]
    | StreamHandler[Any, Any]
    | LastingHandler[Any, Any, Any]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What answers one method of one path: an operation, or a mounted application.

    Logs and metrics show its `name`. `bucket`: a rate limit in addition to the usual ones.
    """

    method: Method
    path: str
    name: str
    access: Access
    bucket: RateLimit | None = None

    @property
    def logs_each(self) -> bool:
        """Whether each of its answers has a line in the log; of reads a sample has one."""
        return self.method != "GET"


class MountedApp(Protocol):
    """An ASGI application of a slice: it speaks a protocol of its own."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whose scope has `CALLED`; the first message has the whole body.

        An ApiError that it raises before it answers is answered as usual.
        """
        ...

    async def close(self) -> None:
        """End what it has begun."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount(Endpoint):
    """An application beside the operations. It is in no list of operations, nor in the OpenAPI document.

    The API finds the caller, checks `access`, counts the request and reads the body; then it calls the
    application. `make` gets the API itself, so that the application can call operations. `patience`: how
    many times the usual answer timeout a request may take.
    """

    make: Callable[[App], MountedApp]
    patience: float = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Endpoint):
    """One route; made by `routes.Routes`."""

    summary: str
    tag: str
    handler: AnyHandler
    # "file": the Reply's headers carry the content type, which is one of `file_types`.
    answer: Literal["json", "empty", "text", "html", "file", "stream"] = "json"
    file_types: tuple[str, ...] = ()
    status: int = 200
    # `also`: other statuses below 400 that a Reply may carry. `errors`: refusals beyond the usual ones.
    also: tuple[int, ...] = ()
    errors: tuple[type[ApiError], ...] = ()
    # Whether a repeat without Idempotency-Key has no further effect.
    natural: bool = False
    # True if the answer waits until objects are examined; such an answer may take longer than others.
    slow: bool = False
    # What stands in the audit log after it: an action such as `device.created`, or a sentence that says why
    # nothing does. Every operation that is no GET has one of the two.
    audit: str = ""
    unaudited: str = ""
    description: str = ""

    @property
    def logs_each(self) -> bool:
        """Whether each of its answers has a line in the log: a write, a link, an export.

        Heartbeats have none each: a fleet sends thousands a second.
        """
        if self.method != "GET":
            return not isinstance(self.handler, DirectHandler)
        return self.answer == "file" or (
            self.response is not None and _LINK in self.response.__struct_fields__
        )

    @property
    def query(self) -> type[msgspec.Struct]:
        """The struct of the query."""
        return self.handler.query

    @property
    def body(self) -> type[msgspec.Struct]:
        """The struct of the body, or of a form's text fields."""
        return self.handler.body

    @property
    def files(self) -> tuple[FormFile, ...]:
        """The files of the operation's form; none when it takes no form."""
        return self.handler.files if isinstance(self.handler, FormHandler) else ()

    @property
    def response(self) -> type[msgspec.Struct] | None:
        """The struct of a JSON answer."""
        response: type[Any] = self.handler.response
        return None if response in (NoneType, bytes) else response

    @property
    def idempotency(self) -> Literal["stored", "natural", "none"]:
        """What prevents a second effect of a repeated request."""
        if isinstance(self.handler, (StoredHandler, LastingHandler)):
            return "stored"
        return "natural" if self.natural else "none"

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the path's parameters, in order."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))
