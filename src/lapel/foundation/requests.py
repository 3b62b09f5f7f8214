"""The one request path, compiled once from the list of operations.

route -> authenticate -> scope and world -> limit -> read and decode -> idempotency -> call -> encode
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from lapel.foundation import idempotency
from lapel.foundation.actors import ANONYMOUS, Actor
from lapel.foundation.answers import encode, problem, refuse
from lapel.foundation.asgi import ClientGone
from lapel.foundation.auth import admit
from lapel.foundation.bodies import BodyDecoder, QueryDecoder
from lapel.foundation.errors import (
    ApiError,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    RateLimitExceeded,
    Unauthorized,
    Unavailable,
)
from lapel.foundation.forms import Form
from lapel.foundation.idempotency import Stored, Ticket
from lapel.foundation.large_answers import PIECE, LargeAnswers
from lapel.foundation.operations import Operation, Reply, Router
from lapel.foundation.refusals import AGAIN, classify
from lapel.foundation.request_headers import check_content_type, check_version, is_date, refuse_repeated
from lapel.foundation.request_id import REQUEST_ID
from lapel.foundation.strangers import Strangers
from lapel.foundation.world_shares import WORLD, TokenWorlds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from lapel.foundation.answers import Headers
    from lapel.foundation.asgi import Receive, Scope, Send
    from lapel.foundation.clock import Clock
    from lapel.foundation.database import Database
    from lapel.foundation.ids import Ids
    from lapel.foundation.operations import Answer, Direct
    from lapel.foundation.protocols import Authenticate, Limiter, Observer
    from lapel.foundation.row_quota import Room
    from lapel.foundation.seal import Sealer

_PARAMETER = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")
_KEEP_ANSWERS = timedelta(hours=24)
# What is read and decoded for a caller that is not known yet, at most.
_DIRECT_BYTES = 64 * 1024
_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An operation and what was compiled from it."""

    operation: Operation
    body: BodyDecoder
    query: QueryDecoder
    # The same for the text fields of a form.
    fields: QueryDecoder
    parameters: tuple[str, ...]
    writes: bool
    # Whether what it keeps has a client's own text in it.
    grows: bool


@dataclass(slots=True)
class _Call:
    """What is known of one request so far; read when it is answered, also if it failed."""

    headers: dict[bytes, bytes]
    began: float
    request_id: str
    operation: Operation | None = None
    actor: Actor = ANONYMOUS
    extra: Headers = ()
    started: bool = False


@dataclass(frozen=True, slots=True)
class _Large:
    """An answer of about `size` bytes that is not made yet."""

    size: int
    make: Callable[[], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class _Effect:
    """What a `stored` operation is asked to do; `ticket` only with an Idempotency-Key."""

    operation: Operation
    actor: Actor
    params: Mapping[str, str]
    query: msgspec.Struct
    body: msgspec.Struct
    ticket: Ticket | None


class Api:
    """The ASGI application of all operations."""

    def __init__(
        self,
        operations: Sequence[Operation],
        *,
        authenticate: Authenticate,
        database: Database,
        sealer: Sealer,
        clock: Clock,
        ids: Ids,
        limiter: Limiter,
        observe: Observer,
        body_limit: int,
        room: Room,
    ) -> None:
        self.operations = tuple(operations)
        self._authenticate = authenticate
        self._database = database
        self._sealer = sealer
        self._clock = clock
        self._ids = ids
        self._limiter = limiter
        self._observe = observe
        self._body_limit = body_limit
        self._room = room
        self._large = LargeAnswers()
        self._token_worlds = TokenWorlds()
        self.strangers = Strangers(clock)
        self._router = Router((each.method, each.path, _compile(each)) for each in operations)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; never raises."""
        call = _Call(dict(scope["headers"]), time.perf_counter(), self._ids.new("req"))
        REQUEST_ID.set(call.request_id)
        try:
            answer = await self._answer(scope, receive, call)
            if isinstance(answer, _Large) or len(answer[2]) > PIECE:
                await self._send_large(answer, scope, call, send)
                return
        except ClientGone:
            return
        except Exception as error:
            if call.started:
                raise
            refusal = classify(error)
            if isinstance(refusal, RateLimitExceeded):
                call.extra = ()  # its own headers are of the tightest limit
            answer = refuse(refusal, call.request_id, problem(call.headers))
        await self._start(answer, scope, call, send)
        await send({"type": "http.response.body", "body": answer[2], "more_body": False})

    async def _send_large(
        self, answer: tuple[int, Headers, bytes] | _Large, scope: Scope, call: _Call, send: Send
    ) -> None:
        """Make it, if it is not made yet, and send it, once there is room. Raises Unavailable, ClientGone."""
        made = not isinstance(answer, _Large)
        size = len(answer[2]) if made else answer.size
        async with self._large.room(scope, call.actor.world_id, size, made=made) as place:
            whole = answer if made else await _make(call, answer)
            await self._start(whole, scope, call, send)
            await self._large.send(send, whole[2], place)

    async def _start(self, answer: tuple[int, Headers, bytes], scope: Scope, call: _Call, send: Send) -> None:
        """Count the answer, and send its head."""
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
        if status != 204:
            sent.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": sent, "trailers": False})

    async def _answer(
        self, scope: Scope, receive: Receive, call: _Call
    ) -> tuple[int, Headers, bytes] | _Large:
        endpoint, params = self._route(scope["method"], scope["path"])
        operation = call.operation = endpoint.operation
        if len(call.headers) != len(scope["headers"]):
            refuse_repeated(scope["headers"])
        direct = operation.direct
        if direct is not None and _is_small(call.headers):
            token_hash = self._authenticate.device_token(call.headers.get(b"authorization"))
            if token_hash is not None and not self.strangers.suspects(scope):
                try:
                    return await self._answer_direct(
                        endpoint, direct, token_hash, params, scope, receive, call
                    )
                except Unauthorized:
                    self._limiter.forget_device(token_hash)
                    raise
        if not operation.public:
            await self._enter(operation, scope, call)
        await self._room.check(call.actor.world_id, writes=endpoint.writes, grows=endpoint.grows)
        if operation.files:
            return await self._answer_form(endpoint, scope["query_string"], receive, call, params)
        content, query, body = await self._decode(endpoint, scope, receive, call)
        if operation.idempotency == "stored":
            key = idempotency.read_key(call.headers.get(b"idempotency-key"))
            ticket = (
                idempotency.ticket(call.actor, key, operation.method, scope["path"], content) if key else None
            )
            return await self._run_stored(_Effect(operation, call.actor, params, query, body, ticket))
        handler = operation.handler if scope["method"] != "HEAD" else operation.head or operation.handler
        if operation.sized is not None:
            size = await operation.sized(call.actor, params, query, body)
            if size > PIECE:
                return _Large(size, lambda: handler(call.actor, params, query, body))
        return encode(operation, await handler(call.actor, params, query, body))

    async def _enter(
        self, operation: Operation, scope: Scope, call: _Call, counted: Headers | None = None
    ) -> None:
        """Find the caller, check its scope, and count the request unless it was `counted`."""
        try:
            call.actor = await self._authenticate(call.headers.get(b"authorization"))
        except Unauthorized:
            self.strangers.note(scope)
            raise
        admit(operation, call.actor)
        call.extra = await self._limiter.take(call.actor, operation) if counted is None else counted
        WORLD.set(call.actor.world_id)

    async def _decode(
        self, endpoint: Endpoint, scope: Scope, receive: Receive, call: _Call
    ) -> tuple[bytes, msgspec.Struct, msgspec.Struct]:
        """The body as it came, and query and body as structs; headers are checked on the way."""
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
        direct: Direct,
        token_hash: bytes,
        params: Mapping[str, str],
        scope: Scope,
        receive: Receive,
        call: _Call,
    ) -> tuple[int, Headers, bytes]:
        """The operation's own statement finds the device that calls, and only then is it known.

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
            found = await direct(token_hash, params, query, body)
        except Unavailable:
            raise  # to ask for the token would take as long again, of what has too much to do as it is
        except RateLimitExceeded:
            await self._enter(operation, scope, call, counted=())
            raise
        except ApiError:
            await self._enter(operation, scope, call, counted)
            raise
        if found is None:
            await self._enter(operation, scope, call, counted)
            return encode(operation, await operation.handler(call.actor, params, query, body))
        call.actor, answer = found
        self._token_worlds.learn(token_hash, call.actor.world_id)
        call.extra = await self._limiter.take(call.actor, operation) if counted is None else counted
        return encode(operation, answer)

    async def _answer_form(
        self, endpoint: Endpoint, query: bytes, receive: Receive, call: _Call, params: Mapping[str, str]
    ) -> tuple[int, Headers, bytes]:
        """The handler reads the form itself, and only as fast as it can put it away."""
        operation = endpoint.operation
        check_version(call.headers.get(b"bota-version"))
        idempotency.read_key(call.headers.get(b"idempotency-key"))
        asked = endpoint.query(query)
        form: Form[Any] = Form(
            receive,
            call.headers,
            files=operation.files,
            fields=endpoint.fields,
            field_bytes=self._body_limit,
        )
        return encode(operation, await operation.handler(call.actor, params, asked, form))

    def _route(self, method: str, path: str) -> tuple[Endpoint, Mapping[str, str]]:
        found = self._router.find(path)
        if found is None:
            raise NotFound("There is nothing at this path. The routes are listed at /v1/openapi.json.")
        methods, values = found
        endpoint: Endpoint | None = methods.get(method)
        if endpoint is None:
            raise MethodNotAllowed(tuple(sorted(methods)))
        for value in values:
            if not _PARAMETER.match(value):
                raise NotFound("There is nothing with this id.")
        return endpoint, dict(zip(endpoint.parameters, values, strict=True))

    async def _read(self, receive: Receive, headers: dict[bytes, bytes], operation: Operation) -> bytes:
        """The whole body, never more than the limit of it."""
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

    async def _run_stored(self, effect: _Effect) -> tuple[int, Headers, bytes]:
        try:
            return await self._run_once(effect)
        except AGAIN:
            return await self._run_once(effect)

    async def _run_once(self, effect: _Effect) -> tuple[int, Headers, bytes]:
        done = await self._run_or_find(effect)
        if isinstance(done, Stored):
            # It asks for a connection of its own: holding one meanwhile, repeats could starve each other.
            return await _replay(effect, done)
        answer, encoded = done
        if isinstance(answer, Reply) and answer.committed is not None:
            await answer.committed()
        return encoded

    async def _run_or_find(self, effect: _Effect) -> Stored | tuple[Answer, tuple[int, Headers, bytes]]:
        """The effect and its answer, in one transaction; or the answer that was given before."""
        now, ticket = self._clock.now(), effect.ticket
        async with self._database.transaction() as connection:
            if ticket is not None:
                stored = await ticket.claim(connection, self._sealer, now, _KEEP_ANSWERS)
                if stored is not None:
                    return stored
            answer = await effect.operation.handler(
                connection, effect.actor, effect.params, effect.query, effect.body
            )
            encoded = encode(effect.operation, answer)
            if ticket is not None:
                end_user_id = idempotency.end_user_of(answer, effect.params)
                stored = Stored(encoded[0], encoded[2])
                await ticket.store(connection, self._sealer, now, stored, end_user_id)
            return answer, encoded


async def _make(call: _Call, answer: _Large) -> tuple[int, Headers, bytes]:
    if call.operation is None:
        raise RuntimeError("only operations answer")
    return encode(call.operation, await answer.make())


def _is_small(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the body is declared to be small."""
    return b"transfer-encoding" not in headers and int(headers.get(b"content-length", 0)) <= _DIRECT_BYTES


async def _replay(effect: _Effect, stored: Stored) -> tuple[int, Headers, bytes]:
    operation = effect.operation
    body: msgspec.Struct | bytes = stored.body
    if operation.replay is not None and operation.response is not None:
        before: Any = msgspec.json.decode(stored.body, type=operation.response)
        body = await operation.replay(effect.actor, effect.params, before)
    return encode(operation, Reply(body, stored.status, (("Idempotent-Replayed", "true"),)))


# Of each struct one decoder; many operations have the empty ones.
_body_decoder = cache(BodyDecoder)
_query_decoder = cache(QueryDecoder)


def _compile(operation: Operation) -> Endpoint:
    return Endpoint(
        operation,
        _body_decoder(operation.body),
        _query_decoder(operation.query),
        _query_decoder(operation.body),
        operation.parameters,
        # Deleting makes room; `none` stores nothing, or (a heartbeat) looks after the disk itself.
        writes=operation.method not in ("GET", "DELETE") and operation.idempotency != "none",
        grows=operation.idempotency == "stored"
        or operation.method in ("PUT", "PATCH")
        or bool(operation.files),
    )
