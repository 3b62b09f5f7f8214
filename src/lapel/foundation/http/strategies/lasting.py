"""Lasting operations: the work takes longer than a transaction may be open, and its answer is stored.

The handler itself opens short transactions. It claims the Idempotency-Key in the first one, and stores the
answer in the last one, together with the effect. Between them, the handler has to know which of its work is
running for a key: no lock of the database lasts that long.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lapel.foundation.http.calls import Body, LastingCall, Query
from lapel.foundation.http.operations import Response
from lapel.foundation.http.responses import STREAM_HEADERS, encode
from lapel.foundation.http.strategies import idempotency
from lapel.foundation.http.strategies.exchange import StreamedAnswer
from lapel.foundation.http.strategies.idempotency import KEEP_ANSWERS, REPLAYED, StoredAnswer
from lapel.foundation.http.strategies.strategy import Strategy

if TYPE_CHECKING:
    from lapel.foundation.core.asgi import Receive
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.calls import Params
    from lapel.foundation.http.operations import LastingHandler, Operation
    from lapel.foundation.http.responses import Headers
    from lapel.foundation.http.strategies.exchange import Encoded, Exchange
    from lapel.foundation.http.strategies.idempotency import Ticket
    from lapel.foundation.http.strategies.stored import Effects
    from lapel.foundation.http.strategies.strategy import Checks

# The operation's own limit, of ten answer timeouts, ends before this multiple.
_LASTING = 10.5
# What takes the answer as JSON. Many clients send `*/*`, or name everything that they can read.
_JSON_KINDS = (b"application/json", b"application/*", b"*/*")


def prefers_events(accept: bytes) -> bool:
    """Whether an `Accept` header ranks events before JSON. Source: RFC 9110, section 12.5.1."""
    weights: dict[bytes, float] = {}
    for each in accept.lower().split(b","):
        kind, *parameters = (part.strip() for part in each.split(b";"))
        given = next((part[2:] for part in parameters if part.startswith(b"q=")), b"1")
        try:
            weights[kind] = float(given)
        except ValueError:
            weights[kind] = 0.0
    as_json = max(weights.get(kind, 0.0) for kind in _JSON_KINDS)
    return weights.get(b"text/event-stream", 0.0) > as_json


@dataclass(slots=True)
class Claim:
    """See AnswerClaim. `found`: there was a stored answer."""

    ticket: Ticket
    effects: Effects
    found: bool = False

    @property
    def digest(self) -> bytes:
        """See AnswerClaim."""
        return self.ticket.digest

    async def find(self, connection: Connection) -> bytes | None:
        """See AnswerClaim."""
        now = self.effects.clock.now()
        stored = await self.ticket.claim(connection, self.effects.sealer, now, KEEP_ANSWERS)
        self.found = stored is not None
        return None if stored is None else stored.body

    async def hold(self, connection: Connection) -> None:
        """See AnswerClaim."""
        await self.ticket.hold(connection)

    async def store(self, connection: Connection, status: int, body: bytes, end_user_id: str | None) -> None:
        """See AnswerClaim."""
        answer, now = StoredAnswer(status, body), self.effects.clock.now()
        await self.ticket.store(connection, self.effects.sealer, now, answer, end_user_id)


class Lasting(Strategy[Query, Body, Response]):
    """Answers a LastingHandler's requests."""

    def __init__(
        self,
        operation: Operation,
        handler: LastingHandler[Query, Body, Response],
        checks: Checks,
        effects: Effects,
    ) -> None:
        super().__init__(operation, handler, checks)
        self.patience = _LASTING
        self._run = handler.run
        self._effects = effects

    async def answer(self, exchange: Exchange, params: Params, receive: Receive) -> Encoded | StreamedAnswer:
        """See Strategy."""
        await self._admit(exchange)
        content, query, body = await self._decode(exchange, receive)
        headers, actor = exchange.headers, exchange.actor
        key = idempotency.read_key(headers.get(b"idempotency-key"))
        claim: Claim | None = None
        if key is not None:
            path = exchange.scope["path"]
            ticket = idempotency.ticket(actor, key, self.operation.method, path, content)
            claim = Claim(ticket, self._effects)
        streamed = prefers_events(headers.get(b"accept", b""))
        answer = await self._run(LastingCall(params, query, body, actor, claim, streamed))
        if isinstance(answer, AsyncGenerator):
            return StreamedAnswer(
                self.operation.status,
                lambda: (*STREAM_HEADERS, *_replayed(claim)),
                answer,
                lambda: self._checks.check_again(exchange, self.operation),
            )
        status, headers, body = encode(self.operation, answer)
        return status, (*headers, *_replayed(claim)), body


def _replayed(claim: Claim | None) -> Headers:
    return REPLAYED if claim is not None and claim.found else ()
