"""The one request path, compiled once from the list of operations.

route -> the operation's strategy, which authenticates, decodes and calls -> send

Protocol: ASGI 3, "HTTP & WebSocket ASGI Message Format" (https://asgi.readthedocs.io).
"""

from __future__ import annotations

import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import structlog

from lapel.foundation.core.asgi import CONNECTION, ClientGone
from lapel.foundation.core.errors import MethodNotAllowed, NotFound, RateLimitExceeded, Unavailable
from lapel.foundation.core.request_id import CLIENT_ADDRESS, REQUEST_HEADERS, REQUEST_ID
from lapel.foundation.database.turns.world_shares import PROJECT, WORLD, TokenWorlds
from lapel.foundation.http.deadline import Deadlines
from lapel.foundation.http.input.client_address import ClientAddresses
from lapel.foundation.http.input.headers import is_date, refuse_repeated
from lapel.foundation.http.input.large_bodies import LargeBodies
from lapel.foundation.http.large_responses import LargeAnswers, is_large, pieces_while_admitted, room_of
from lapel.foundation.http.operations import (
    DirectHandler,
    FormHandler,
    LastingHandler,
    PlainHandler,
    StoredHandler,
    StreamHandler,
)
from lapel.foundation.http.protocols import AnsweredRequest
from lapel.foundation.http.refusals import classify, id_of_another_kind
from lapel.foundation.http.responses import problem, refuse
from lapel.foundation.http.router import Router
from lapel.foundation.http.strategies.direct import Direct
from lapel.foundation.http.strategies.exchange import DeferredAnswer, Exchange, StreamedAnswer
from lapel.foundation.http.strategies.form import Forms
from lapel.foundation.http.strategies.lasting import Lasting
from lapel.foundation.http.strategies.mounted import Mounted
from lapel.foundation.http.strategies.plain import Plain
from lapel.foundation.http.strategies.stored import Stored
from lapel.foundation.http.strategies.strategy import Checks, Strategy
from lapel.foundation.http.strategies.stream import Streaming
from lapel.foundation.http.strategies.stream_sending import Streams
from lapel.foundation.identity.strangers import Strangers

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence
    from ipaddress import IPv4Network, IPv6Network

    from lapel.foundation.core.asgi import ClientConnection, Message, Receive, Scope, Send
    from lapel.foundation.core.clock import Clock
    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.row_quota import Room
    from lapel.foundation.http.calls import Content
    from lapel.foundation.http.operations import Endpoint, Mount, Operation
    from lapel.foundation.http.protocols import Authenticate, Limiter, Observer, RequestLog
    from lapel.foundation.http.responses import Headers
    from lapel.foundation.http.strategies.exchange import Encoded
    from lapel.foundation.http.strategies.stored import Effects

# One router holds the strategies of all operations, whose structs differ, and the mounted applications.
_AnyStrategy: TypeAlias = "Strategy[Any, Any, Any] | Mounted"

# The characters of an id, of `me` and of a section's name; or a UUID. A path whose value has any other
# character does not exist, such as /v1/recordings/streaming-sessions: every method answers 404 there, also a
# method that answers 405 on the path of an id.
_PARAMETER = re.compile(r"(?:[A-Za-z0-9_]{1,128}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\Z")
_NO_STORE = (b"cache-control", b"no-store")
_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Api:
    """The ASGI application of all operations."""

    def __init__(  # noqa: PLR0913 - the parts of the request path, by their names
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
        trusted_proxies: Sequence[IPv4Network | IPv6Network] = (),
        request_log: RequestLog | None = None,
        mounts: Sequence[Mount] = (),
        id_prefixes: Mapping[str, str] | None = None,
    ) -> None:
        """`body_limit`: bytes of a JSON body. `answer_timeout`: seconds; see Deadlines. `trusted_proxies`:
        see ClientAddresses. Without a `request_log` nobody can follow requests. Call `close` at the end if
        there are `mounts`. `id_prefixes`: of the ids in each path parameter and field of this name.
        """
        self.operations = tuple(operations)
        self.strangers = Strangers(clock)
        self._ids = ids
        self._observe = observe
        self._deadlines = Deadlines(answer_timeout)
        self._large = LargeAnswers()
        self._addresses = ClientAddresses(trusted_proxies)
        self._streams = Streams()
        self._id_prefixes = id_prefixes or {}
        self._request_log = request_log
        self._followed: Container[int] = () if request_log is None else request_log.followed
        bodies = LargeBodies(body_limit)
        self._checks = checks = Checks(authenticate, limiter, room, self.strangers, bodies, body_limit)
        token_worlds = TokenWorlds()

        def compiled(operation: Operation) -> _AnyStrategy:
            match operation.handler:
                case PlainHandler() as handler:
                    return Plain(operation, handler, checks)
                case StoredHandler() as handler:
                    return Stored(operation, handler, checks, effects)
                case DirectHandler() as handler:
                    return Direct(operation, handler, checks, token_worlds)
                case FormHandler() as handler:
                    return Forms(operation, handler, checks)
                case StreamHandler() as handler:
                    return Streaming(operation, handler, checks)
                case LastingHandler() as handler:
                    return Lasting(operation, handler, checks, effects)

        self._mounted = [Mounted(each, checks, self) for each in mounts]
        self._router = Router(
            [
                *((each.method, each.path, compiled(each)) for each in operations),
                *((each.operation.method, each.operation.path, each) for each in self._mounted),
            ]
        )

    async def close(self) -> None:
        """End what the mounted applications have begun."""
        for each in self._mounted:
            await each.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. An error becomes an error answer.

        Raises an error only after the answer has begun, and CancelledError when the server cancels the
        request.
        """
        exchange = Exchange(scope, dict(scope["headers"]), time.perf_counter(), self._ids.new("req"))
        REQUEST_ID.set(exchange.request_id)
        REQUEST_HEADERS.set(scope["headers"])
        exchange.address = self._addresses.of(scope, exchange.headers)
        CLIENT_ADDRESS.set(exchange.address)
        WORLD.set(None)  # a pipelined request begins in the context of the one before it
        PROJECT.set("")
        try:
            answer = await self._answer(exchange, receive, send)
            if answer is not None:
                head = self._begin(answer, exchange)
                if not _send_whole(scope, head, answer[2]):
                    await send(head)
                    await send({"type": "http.response.body", "body": answer[2], "more_body": False})
        except BaseException:
            # The deadline cancels this task; its CancelledError may arrive here as another error.
            if exchange.deadline is None or not await exchange.deadline.answered():
                raise
        finally:
            if exchange.deadline is not None:
                exchange.deadline.stop()
                exchange.deadline = None  # breaks a reference cycle, which only the collector would free

    async def _answer(self, exchange: Exchange, receive: Receive, send: Send) -> Encoded | None:
        """The answer, also of an error; None if it is sent already, or if the client has left."""
        scope = exchange.scope
        try:
            strategy, params = self._route(scope["method"], scope["path"])
            exchange.operation, exchange.params = strategy.operation, params
            exchange.deadline = deadline = self._deadlines.begin(
                strategy.patience, partial(self._answer_late, exchange, send), receive
            )
            if len(exchange.headers) != len(scope["headers"]):
                refuse_repeated(scope["headers"])
            answer = await strategy.answer(exchange, params, deadline.receive)
            if isinstance(answer, tuple) and not is_large(answer[2]):
                return answer
            if isinstance(answer, StreamedAnswer):
                await self._send_stream(answer, exchange, receive, send)
            else:
                return await self._send_large(answer, exchange, strategy.operation, send)
        except ClientGone:
            pass
        except Exception as error:
            if exchange.started:
                raise
            return self._refuse(error, exchange)
        return None

    def _refuse(self, error: Exception, exchange: Exchange) -> tuple[int, Headers, bytes]:
        refusal = classify(error)
        if isinstance(refusal, NotFound):
            fields = {} if exchange.body is None else msgspec.structs.asdict(exchange.body)
            given = (*exchange.params.items(), *fields.items())
            refusal.message += id_of_another_kind(self._id_prefixes, given)
        exchange.error_code = refusal.code
        if isinstance(refusal, RateLimitExceeded):
            exchange.extra = ()  # the refusal carries the headers of the exhausted limit
        return refuse(refusal, exchange.request_id, problem(exchange.headers))

    async def _answer_late(self, exchange: Exchange, send: Send) -> None:
        """Send the 503 of a request whose deadline has passed.

        Its task has the context of the request that started the timer.
        """
        REQUEST_ID.set(exchange.request_id)
        REQUEST_HEADERS.set(exchange.scope["headers"])
        _log.warning("request.late", operation=exchange.operation.name if exchange.operation else None)
        late = Unavailable("The answer took too long to make. Repeat the request.", retry_after=2)
        answer = self._refuse(late, exchange)
        await send(self._head(answer, exchange))
        await send({"type": "http.response.body", "body": answer[2], "more_body": False})

    async def _send_large(
        self, answer: Encoded | DeferredAnswer, exchange: Exchange, operation: Endpoint, send: Send
    ) -> Encoded | None:
        """Wait for room, make the answer if it is not made yet, and send it. Returns one that is not large.

        Raises Unavailable when no room becomes free in time, ClientGone when the client left or was cut off.
        """
        made = not isinstance(answer, DeferredAnswer)
        size = room_of(answer[2]) if made else answer.size
        async with self._large.room(exchange.scope, exchange.actor.world_id, size, made=made) as place:
            whole = answer if made else await self._large.make(exchange.actor.project_id, answer)
            if not is_large(whole[2]):
                return whole
            await send(self._begin(whole, exchange))
            body = whole[2]
            if not isinstance(body, bytes):
                check = partial(self._checks.check_again, exchange, operation)
                body = pieces_while_admitted(body, check)
            await self._large.send(exchange.scope, send, body, place)
        return None

    async def _send_stream(
        self, answer: StreamedAnswer, exchange: Exchange, receive: Receive, send: Send
    ) -> None:
        """Send events until the client leaves. Raises what `Streams.send` raises."""

        async def begin() -> None:
            await send(self._begin((answer.status, answer.headers(), answer.pieces), exchange))

        await self._streams.send(answer, exchange, receive, send, begin)

    def _begin(self, answer: Encoded, exchange: Exchange) -> Message:
        """`_head`, before the deadline. Raises what `Deadline.meet` raises."""
        if exchange.deadline is not None:
            exchange.deadline.meet()
        return self._head(answer, exchange)

    def _head(self, answer: Encoded, exchange: Exchange) -> Message:
        """Report the answer to logs, metrics and followers, and return the message with its status and
        headers."""
        exchange.started = True
        status, headers, body = answer
        seconds = time.perf_counter() - exchange.began
        method, error = exchange.scope["method"], exchange.error_code
        self._observe(exchange.operation, method, status, seconds, exchange.actor, error)
        if exchange.actor.world_id in self._followed:
            self._show(exchange, status, seconds)
        sent = [(b"x-request-id", exchange.request_id.encode()), _NO_STORE, *exchange.extra, *headers]
        sent += exchange.warnings
        version = exchange.headers.get(b"bota-version")
        if version is not None and is_date(version):
            sent.append((b"bota-version", version))
        if status != 204 and isinstance(body, bytes):
            sent.append((b"content-length", b"%d" % len(body)))
        return {"type": "http.response.start", "status": status, "headers": sent, "trailers": False}

    def _show(self, exchange: Exchange, status: int, seconds: float) -> None:
        """Show the request to those who follow its world."""
        if self._request_log is not None:
            self._request_log.note(
                AnsweredRequest(
                    id=exchange.request_id,
                    actor=exchange.actor,
                    method=exchange.scope["method"],
                    path=exchange.scope["path"],
                    status=status,
                    seconds=seconds,
                    address=exchange.address,
                    error_code=exchange.error_code,
                )
            )

    def _explain_not_found(self, path: str) -> NotFound:
        """The 404 of an unknown path."""
        said = "There is nothing at this path."
        if "%" in path:
            return NotFound(f"{said} No path of the API has percent-encoded characters.")
        near = self._router.nearest(path)
        found = None if near is None else self._router.find(near)
        if found is not None and all(_PARAMETER.match(value) for value in found[1]):
            return NotFound(f"{said} Did you mean `{near}`?")
        return NotFound(f"{said} The routes are listed at /v1/openapi.json.")

    def _route(self, method: str, path: str) -> tuple[_AnyStrategy, Mapping[str, str]]:
        found = self._router.find(path)
        if found is None:
            raise self._explain_not_found(path)
        methods, values = found
        for value in values:
            if not _PARAMETER.match(value):
                raise NotFound("There is nothing with this id.")
        strategy: _AnyStrategy | None = methods.get(method)
        if strategy is None:
            raise MethodNotAllowed(tuple(sorted(methods)))
        return strategy, dict(zip(strategy.parameters, values, strict=True))


def _send_whole(scope: Scope, head: Message, body: Content) -> bool:
    """Send the answer in one step. False if its connection cannot do that."""
    connection: ClientConnection | None = scope.get(CONNECTION)
    return (
        connection is not None
        and isinstance(body, bytes)
        and connection.answer(scope, head["status"], head["headers"], body)
    )
