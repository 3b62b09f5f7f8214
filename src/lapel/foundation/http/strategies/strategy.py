"""An operation, compiled once at the start: the steps that all strategies share.

authenticate -> scope and world -> limit -> room -> read and decode

A strategy runs these steps in its own order and calls the handler. The order of checks is part of the
contract (`tests/contract/test_order.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Generic

from lapel.foundation.core.asgi import CONNECTION, INSIDE
from lapel.foundation.core.errors import Unauthorized
from lapel.foundation.core.request_id import CLIENT_ADDRESS
from lapel.foundation.database.turns.world_shares import PROJECT, WORLD
from lapel.foundation.http.calls import Body, Query
from lapel.foundation.http.input.decoding import BodyDecoder, QueryDecoder
from lapel.foundation.http.input.headers import check_content_type, check_version, wants_strictness
from lapel.foundation.http.input.large_bodies import LargeBodies, too_large
from lapel.foundation.http.input.unknown_fields import UnknownFields, warning_of
from lapel.foundation.http.operations import Response
from lapel.foundation.http.strategies import idempotency

if TYPE_CHECKING:
    import msgspec

    from lapel.foundation.core.asgi import ClientConnection, Receive
    from lapel.foundation.database.row_quota import Room
    from lapel.foundation.http.calls import Params
    from lapel.foundation.http.operations import Endpoint, Handler, Operation
    from lapel.foundation.http.protocols import Authenticate, Limiter
    from lapel.foundation.http.responses import Headers
    from lapel.foundation.http.strategies.exchange import (
        DeferredAnswer,
        Encoded,
        Exchange,
        StreamedAnswer,
    )
    from lapel.foundation.identity.strangers import Strangers

# A slow operation may take this many times the usual answer timeout.
_SLOW = 2.5


@dataclass(frozen=True, slots=True)
class Checks:
    """The objects that the shared steps use."""

    authenticate: Authenticate
    limiter: Limiter
    room: Room
    strangers: Strangers
    bodies: LargeBodies
    body_limit: int
    """The most bytes of a JSON body, and of a form without its files."""

    async def enter(self, exchange: Exchange, endpoint: Endpoint, counted: Headers | None = None) -> None:
        """Find the caller, check that it may call, and count the request unless it was `counted`."""
        try:
            actor = exchange.actor = await self.authenticate(exchange.headers.get(b"authorization"))
        except Unauthorized:
            self.strangers.note(CLIENT_ADDRESS.get())
            raise
        endpoint.access.admit(actor, self.authenticate.kinds, inside=INSIDE in exchange.scope)
        exchange.extra = await self.limiter.take(actor, endpoint) if counted is None else counted
        WORLD.set(actor.world_id)
        PROJECT.set(actor.project_id)

    async def check_again(self, exchange: Exchange, endpoint: Endpoint) -> None:
        """Raise an ApiError if the caller may no longer call. For streams, which outlast tokens."""
        actor = await self.authenticate(exchange.headers.get(b"authorization"))
        endpoint.access.admit(actor, self.authenticate.kinds, inside=INSIDE in exchange.scope)

    async def read(self, exchange: Exchange, receive: Receive) -> bytes:
        """The whole body.

        Raises PayloadTooLarge before it keeps more bytes than the limit, ClientGone when the client leaves
        before its end, Unavailable when there is no room for a body that arrives slowly, UnsupportedMediaType
        when it is not JSON by its header.
        """
        limit = self.body_limit
        declared = exchange.headers.get(b"content-length")
        if declared is not None and int(declared) > limit:
            raise too_large(limit)
        connection: ClientConnection | None = exchange.scope.get(CONNECTION)
        content = None if connection is None else connection.whole_body(exchange.scope)
        if content is None:
            expected = limit if declared is None else int(declared)
            content = await self.bodies.collect(
                receive, exchange.actor.world_id, expected=expected, limit=limit
            )
        elif len(content) > limit:
            raise too_large(limit)
        if content:
            check_content_type(exchange.headers.get(b"content-type"))
        return content


# One decoder for each struct, because many operations share the empty ones.
@cache
def _body_decoder(struct: type[msgspec.Struct]) -> BodyDecoder[Any]:
    return BodyDecoder(struct)


@cache
def _query_decoder(struct: type[msgspec.Struct]) -> QueryDecoder[Any]:
    return QueryDecoder(struct)


@cache
def _unknown_fields(struct: type[msgspec.Struct]) -> UnknownFields:
    return UnknownFields(struct)


class Strategy(Generic[Query, Body, Response]):
    """How one operation's requests are answered."""

    def __init__(self, operation: Operation, handler: Handler[Query, Body, Response], checks: Checks) -> None:
        self.operation = operation
        self.parameters = operation.parameters
        self.patience = _SLOW if operation.slow else 1
        """The operation's answer timeout, as a multiple of the usual one."""
        self._checks = checks
        self._public = operation.access.public
        # DELETE makes room. An operation with `none` stores nothing, or (the heartbeat) checks the disk
        # itself.
        self._writes = operation.method not in ("GET", "DELETE") and operation.idempotency != "none"
        # It stores a client's own text.
        self._grows = (
            operation.idempotency == "stored" or operation.method in ("PUT", "PATCH") or bool(operation.files)
        )
        self._stores = self._writes or self._grows
        self._reads_body = operation.method != "GET"
        self._takes_key = operation.method == "POST"
        self._decode_query: QueryDecoder[Query] = _query_decoder(handler.query)
        self._decode_body: BodyDecoder[Body] = _body_decoder(handler.body)
        self._find_unknown = _unknown_fields(handler.body)

    async def answer(
        self, exchange: Exchange, params: Params, receive: Receive
    ) -> Encoded | DeferredAnswer | StreamedAnswer:
        """Answer a request to this operation. Raises what the steps and the handler raise."""
        raise NotImplementedError

    async def _admit(self, exchange: Exchange) -> None:
        """Find the caller, check that it may call, count the request, and check that there is room."""
        if not self._public:
            await self._checks.enter(exchange, self.operation)
        if self._stores:
            world_id = exchange.actor.world_id
            await self._checks.room.check(world_id, writes=self._writes, grows=self._grows)

    async def _enter(self, exchange: Exchange, counted: Headers | None) -> None:
        """See `Checks.enter`."""
        await self._checks.enter(exchange, self.operation, counted)

    async def _decode(self, exchange: Exchange, receive: Receive) -> tuple[bytes, Query, Body]:
        """Read the body and check the headers; returns the raw body, and the structs of query and body."""
        headers = exchange.headers
        content = await self._checks.read(exchange, receive) if self._reads_body else b""
        check_version(headers.get(b"bota-version"))
        # A probe or a proxy may add something against caches, where nothing can be filtered.
        query = self._decode_query(b"" if self._public else exchange.scope["query_string"])
        body = exchange.body = self._decode_body(content)
        strict = wants_strictness(headers.get(b"lapel-strict"))
        unknown = self._find_unknown(content)
        if unknown:
            if strict:
                raise unknown[0].refusal()
            exchange.warnings = warning_of(unknown)
        if self._takes_key:
            idempotency.read_key(headers.get(b"idempotency-key"))
        return content, query, body
