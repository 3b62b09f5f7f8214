"""The one request path, compiled once from the list of operations.

route -> authenticate -> scope and world -> limit -> read and decode -> idempotency -> call -> encode

Protocol: ASGI 3, "HTTP & WebSocket ASGI Message Format" (https://asgi.readthedocs.io).
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from lapel.foundation.core.actors import ANONYMOUS, Actor
from lapel.foundation.core.asgi import ClientGone
from lapel.foundation.core.errors import (
    ApiError,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    RateLimitExceeded,
    Unauthorized,
    Unavailable,
)
from lapel.foundation.core.request_id import REQUEST_ID
from lapel.foundation.database.world_shares import WORLD, TokenWorlds
from lapel.foundation.http.calls import Call, DirectCall, FormCall
from lapel.foundation.http.deadline import Deadline, Deadlines
from lapel.foundation.http.input.forms import Form
from lapel.foundation.http.input.headers import check_content_type, check_version, is_date, refuse_repeated
from lapel.foundation.http.large_responses import PIECE, LargeAnswers, is_large, room_of
from lapel.foundation.http.operations import DirectHandler, FormHandler, Operation, StoredHandler
from lapel.foundation.http.refusals import classify
from lapel.foundation.http.responses import encode, encode_any, problem, refuse
from lapel.foundation.http.router import Router
from lapel.foundation.http.strategies import idempotency
from lapel.foundation.http.strategies.effects import Effect
from lapel.foundation.http.strategies.endpoints import Endpoint, endpoint_of
from lapel.foundation.identity.strangers import Strangers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from lapel.foundation.core.asgi import Message, Receive, Scope, Send
    from lapel.foundation.core.clock import Clock
    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.row_quota import Room
    from lapel.foundation.http.calls import Answer, Content
    from lapel.foundation.http.protocols import Authenticate, Limiter, Observer
    from lapel.foundation.http.responses import Headers
    from lapel.foundation.http.strategies.effects import Effects

# An id, `me` or the name of a section. A value with any other character is a path that we do not serve, such
# as /v1/recordings/streaming-sessions: every method gets 404, also those that get 405 on the path of an id.
_PARAMETER = re.compile(r"[A-Za-z0-9_]{1,128}\Z")
# The largest body that is read and decoded before the caller is authenticated.
_DIRECT_BYTES = 64 * 1024
# A slow operation may take so many times the usual answer timeout.
_SLOW = 2.5
_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Request:
    """The state of one request, filled in step by step; answers and refusals are made from it."""

    headers: dict[bytes, bytes]
    began: float
    request_id: str
    operation: Operation | None = None
    actor: Actor = ANONYMOUS
    extra: Headers = ()
    started: bool = False
    # Set once the operation is known; nothing waits before.
    deadline: Deadline | None = None


@dataclass(frozen=True, slots=True)
class _Large:
    """An answer of about `size` bytes that is not made yet."""

    size: int
    make: Callable[[], Awaitable[Answer]]


class Api:
    """The ASGI application of all operations."""

    def __init__(
        self,
        operations: Sequence[Operation],
        *,
        authenticate: Authenticate,
        effects: Effects,
        clock: Clock,
        ids: Ids,
        limiter: Limiter,
        observe: Observer,
        body_limit: int,
        room: Room,
        answer_timeout: float,
    ) -> None:
        """`body_limit`: bytes of a JSON body. `answer_timeout`: seconds; see Deadlines."""
        self.operations = tuple(operations)
        self._authenticate = authenticate
        self._effects = effects
        self._ids = ids
        self._limiter = limiter
        self._observe = observe
        self._body_limit = body_limit
        self._room = room
        self._deadlines = Deadlines(answer_timeout)
        self._large = LargeAnswers()
        self._token_worlds = TokenWorlds()
        self.strangers = Strangers(clock)
        self._router = Router((each.method, each.path, endpoint_of(each)) for each in operations)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Errors become refusals.

        Raises an error only when it comes after the answer has begun, and CancelledError when the server
        cancels the request.
        """
        call = _Request(dict(scope["headers"]), time.perf_counter(), self._ids.new("req"))
        REQUEST_ID.set(call.request_id)
        try:
            await self._respond(scope, receive, send, call)
        except BaseException:
            # The deadline cancels this task; its CancelledError may arrive here as another error.
            if call.deadline is None or not await call.deadline.answered():
                raise
        finally:
            if call.deadline is not None:
                call.deadline.stop()
                call.deadline = None  # breaks a reference cycle, which only the collector would free

    async def _respond(self, scope: Scope, receive: Receive, send: Send, call: _Request) -> None:
        try:
            answer = await self._answer(scope, receive, send, call)
            if isinstance(answer, _Large) or is_large(answer[2]):
                await self._send_large(answer, scope, call, send)
                return
        except ClientGone:
            return
        except Exception as error:
            if call.started:
                raise
            answer = self._refuse(error, call)
        await self._start(answer, scope, call, send)
        await send({"type": "http.response.body", "body": answer[2], "more_body": False})

    def _refuse(self, error: Exception, call: _Request) -> tuple[int, Headers, bytes]:
        refusal = classify(error)
        if isinstance(refusal, RateLimitExceeded):
            call.extra = ()  # the refusal carries the headers of the exhausted limit
        return refuse(refusal, call.request_id, problem(call.headers))

    async def _answer_late(self, scope: Scope, call: _Request, send: Send) -> None:
        """Send the 503 of a request whose deadline has passed."""
        _log.warning("request.late", operation=call.operation.name if call.operation else None)
        late = Unavailable("The answer took too long to make. Repeat the request.", retry_after=2)
        answer = self._refuse(late, call)
        await send(self._head(answer, scope, call))
        await send({"type": "http.response.body", "body": answer[2], "more_body": False})

    async def _send_large(
        self, answer: tuple[int, Headers, Content] | _Large, scope: Scope, call: _Request, send: Send
    ) -> None:
        """Wait for room, make the answer if it is not made yet, and send it.

        Raises Unavailable when there is no room in time, ClientGone when the client left or was cut off.
        """
        made = not isinstance(answer, _Large)
        size = room_of(answer[2]) if made else answer.size
        async with self._large.room(scope, call.actor.world_id, size, made=made) as place:
            whole = answer if made else await _make(call, answer)
            await self._start(whole, scope, call, send)
            await self._large.send(scope, send, whole[2], place)

    async def _start(
        self, answer: tuple[int, Headers, Content], scope: Scope, call: _Request, send: Send
    ) -> None:
        """Send the head of an answer. Raises CancelledError when the deadline has passed."""
        if call.deadline is not None:
            call.deadline.meet()
        await send(self._head(answer, scope, call))

    def _head(self, answer: tuple[int, Headers, Content], scope: Scope, call: _Request) -> Message:
        """Report the answer to logs and metrics; returns the message with its head."""
        call.started = True
        status, headers, body = answer
        self._observe(call.operation, scope["method"], status, time.perf_counter() - call.began, call.actor)
        version = call.headers.get(b"bota-version")
        sent: list[tuple[bytes, bytes]] = [
            (b"x-request-id", call.request_id.encode()),
            (b"cache-control", b"no-store"),
            *call.extra,
            *headers,
        ]
        if version is not None and is_date(version):
            sent.append((b"bota-version", version))
        if status != 204 and isinstance(body, bytes):
            sent.append((b"content-length", str(len(body)).encode()))
        return {"type": "http.response.start", "status": status, "headers": sent, "trailers": False}

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, call: _Request
    ) -> tuple[int, Headers, Content] | _Large:
        endpoint, params = self._route(scope["method"], scope["path"])
        operation = call.operation = endpoint.operation
        times = _SLOW if operation.slow else 1
        call.deadline = self._deadlines.begin(times, lambda: self._answer_late(scope, call, send))
        receive = call.deadline.around(receive)
        if len(call.headers) != len(scope["headers"]):
            refuse_repeated(scope["headers"])
        handler = operation.handler
        if isinstance(handler, DirectHandler) and _is_small(call.headers):
            token_hash = self._authenticate.device_token(call.headers.get(b"authorization"))
            if token_hash is not None and not self.strangers.suspects(scope):
                try:
                    return await self._answer_direct(
                        endpoint, handler, token_hash, params, scope, receive, call
                    )
                except Unauthorized:
                    self._limiter.forget_device(token_hash)
                    raise
        if not operation.access.public:
            await self._enter(operation, scope, call)
        if endpoint.writes or endpoint.grows:
            await self._room.check(call.actor.world_id, writes=endpoint.writes, grows=endpoint.grows)
        if isinstance(handler, FormHandler):
            return await self._answer_form(endpoint, handler, scope["query_string"], receive, call, params)
        content, query, body = await self._decode(endpoint, scope, receive, call)
        asked: Call[Any, Any] = Call(params, query, body, call.actor)
        if isinstance(handler, StoredHandler):
            key = idempotency.read_key(call.headers.get(b"idempotency-key"))
            ticket = (
                idempotency.ticket(call.actor, key, operation.method, scope["path"], content) if key else None
            )
            return await self._effects.run(Effect(operation, handler, asked, ticket))
        if isinstance(handler, DirectHandler):
            return encode_any(operation, await handler.run(asked))
        run = handler.run if scope["method"] != "HEAD" else handler.head or handler.run
        if handler.sized is not None:
            size = await handler.sized(asked)
            if size > PIECE:
                return _Large(size, lambda: run(asked))
        return encode_any(operation, await run(asked))

    async def _enter(
        self, operation: Operation, scope: Scope, call: _Request, counted: Headers | None = None
    ) -> None:
        """Find the caller, check its scope, and count the request unless it was `counted`."""
        try:
            call.actor = await self._authenticate(call.headers.get(b"authorization"))
        except Unauthorized:
            self.strangers.note(scope)
            raise
        operation.access.admit(call.actor)
        call.extra = await self._limiter.take(call.actor, operation) if counted is None else counted
        WORLD.set(call.actor.world_id)

    async def _decode(
        self, endpoint: Endpoint, scope: Scope, receive: Receive, call: _Request
    ) -> tuple[bytes, msgspec.Struct, msgspec.Struct]:
        """Read the body and check the headers; returns the raw body, the query's struct and the body's."""
        content = await self._read(receive, call.headers, endpoint.operation)
        check_version(call.headers.get(b"bota-version"))
        query = endpoint.query(scope["query_string"])
        body = endpoint.body(content)
        if endpoint.operation.method == "POST":
            idempotency.read_key(call.headers.get(b"idempotency-key"))
        return content, query, body

    async def _answer_direct(
        self,
        endpoint: Endpoint,
        handler: DirectHandler[Any, Any, Any],
        token_hash: bytes,
        params: Mapping[str, str],
        scope: Scope,
        receive: Receive,
        call: _Request,
    ) -> tuple[int, Headers, bytes]:
        """Let the operation's own statement authenticate the device and do the work.

        If no device matches, or the request is refused, authenticate the usual way first: a bad token must
        answer 401 before 400 or 429, and only callers with a valid token see rate-limit headers. A device
        that the limiter does not know yet is counted once the statement has found it.
        """
        operation = endpoint.operation
        counted: Headers | None = None
        self._token_worlds.expect(token_hash)
        try:
            counted = await self._limiter.take_device(token_hash)
            _, query, body = await self._decode(endpoint, scope, receive, call)
            found = await handler.direct(DirectCall(params, query, body, token_hash))
        except Unavailable:
            raise  # to authenticate would take as long again, and add load to a part that is overloaded
        except RateLimitExceeded:
            await self._enter(operation, scope, call, counted=())
            raise
        except ApiError:
            await self._enter(operation, scope, call, counted)
            raise
        if found is None:
            await self._enter(operation, scope, call, counted)
            return encode(operation, await handler.run(Call(params, query, body, call.actor)))
        call.actor, answer = found
        self._token_worlds.learn(token_hash, call.actor.world_id)
        call.extra = await self._limiter.take(call.actor, operation) if counted is None else counted
        return encode(operation, answer)

    async def _answer_form(
        self,
        endpoint: Endpoint,
        handler: FormHandler[Any, Any, Any],
        query: bytes,
        receive: Receive,
        call: _Request,
        params: Mapping[str, str],
    ) -> tuple[int, Headers, bytes]:
        """Let the handler read the form itself, only as fast as it can store the files."""
        operation = endpoint.operation
        check_version(call.headers.get(b"bota-version"))
        idempotency.read_key(call.headers.get(b"idempotency-key"))
        asked = endpoint.query(query)
        form: Form[Any] = Form(
            receive,
            call.headers,
            files=handler.files,
            fields=endpoint.fields,
            field_bytes=self._body_limit,
        )
        return encode(operation, await handler.run(FormCall(params, asked, form, call.actor)))

    def _route(self, method: str, path: str) -> tuple[Endpoint, Mapping[str, str]]:
        found = self._router.find(path)
        if found is None:
            raise NotFound("There is nothing at this path. The routes are listed at /v1/openapi.json.")
        methods, values = found
        for value in values:
            if not _PARAMETER.match(value):
                raise NotFound("There is nothing with this id.")
        endpoint: Endpoint | None = methods.get(method)
        if endpoint is None:
            raise MethodNotAllowed(tuple(sorted(methods)))
        return endpoint, dict(zip(endpoint.parameters, values, strict=True))

    async def _read(self, receive: Receive, headers: dict[bytes, bytes], operation: Operation) -> bytes:
        """The whole body. Raises PayloadTooLarge, before more than the limit is held."""
        if operation.method == "GET":
            return b""
        declared = headers.get(b"content-length")
        if declared is not None and int(declared) > self._body_limit:
            raise self._too_large()
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientGone
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._body_limit:
                raise self._too_large()
            chunks.append(chunk)
            if not message.get("more_body", False):
                break
        if size:
            check_content_type(headers.get(b"content-type"))
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"The body may have at most {self._body_limit} bytes.")


async def _make(call: _Request, answer: _Large) -> tuple[int, Headers, Content]:
    if call.operation is None:
        raise RuntimeError("only operations answer")
    return encode_any(call.operation, await answer.make())


def _is_small(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the body is declared to be small."""
    return b"transfer-encoding" not in headers and int(headers.get(b"content-length", 0)) <= _DIRECT_BYTES
