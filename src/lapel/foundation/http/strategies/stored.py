"""`stored` operations: effect and answer in one transaction, once for each Idempotency-Key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from lapel.foundation.http.calls import Body, Call, Query, Reply, StoredCall
from lapel.foundation.http.operations import Response
from lapel.foundation.http.refusals import AGAIN
from lapel.foundation.http.responses import encode
from lapel.foundation.http.strategies import idempotency
from lapel.foundation.http.strategies.answer_sizes import LARGE, AnswerSizes
from lapel.foundation.http.strategies.exchange import DeferredAnswer
from lapel.foundation.http.strategies.idempotency import KEEP_ANSWERS, REPLAYED, StoredAnswer
from lapel.foundation.http.strategies.strategy import Strategy

if TYPE_CHECKING:
    from lapel.foundation.core.asgi import Receive
    from lapel.foundation.core.clock import Clock
    from lapel.foundation.database.pool import Database
    from lapel.foundation.http.calls import AnswerBody, Params
    from lapel.foundation.http.operations import Operation, StoredHandler
    from lapel.foundation.http.responses import Headers
    from lapel.foundation.http.strategies.exchange import Exchange
    from lapel.foundation.http.strategies.idempotency import Ticket
    from lapel.foundation.http.strategies.strategy import Checks
    from lapel.foundation.identity.seal import Sealer

_Whole: TypeAlias = "tuple[int, Headers, bytes]"


@dataclass(frozen=True, slots=True)
class Effects:
    """Where effects are committed, and the sealer of their stored answers."""

    database: Database
    sealer: Sealer
    clock: Clock


class Stored(Strategy[Query, Body, Response]):
    """Answers a StoredHandler's requests."""

    def __init__(
        self,
        operation: Operation,
        handler: StoredHandler[Query, Body, Response],
        checks: Checks,
        effects: Effects,
    ) -> None:
        super().__init__(operation, handler, checks)
        self._handler = handler
        self._effects = effects
        self._sizes = AnswerSizes()

    async def answer(self, exchange: Exchange, params: Params, receive: Receive) -> _Whole | DeferredAnswer:
        """The answer of this run, or of an earlier one with the same key. A renewed answer may be large.

        Raises what the operation raises, what `Ticket.claim` raises, and Unavailable when the database is
        unavailable. Raises an error of AGAIN only if the second run also ends with one.
        """
        await self._admit(exchange)
        content, query, body = await self._decode(exchange, receive)
        call = Call(params, query, body, exchange.actor)
        key = idempotency.read_key(exchange.headers.get(b"idempotency-key"))
        path = exchange.scope["path"]
        ticket = idempotency.ticket(call.actor, key, self.operation.method, path, content) if key else None
        try:
            return await self._run_once(call, ticket)
        except AGAIN:
            return await self._run_once(call, ticket)

    async def _run_once(self, call: Call[Query, Body], ticket: Ticket | None) -> _Whole | DeferredAnswer:
        done = await self._run_or_find(call, ticket)
        if isinstance(done, StoredAnswer):
            # The transaction's connection is free again here, because `replay` may take one: repeats that
            # hold a connection and wait for a second one could starve each other.
            return await self._replay(call, done)
        answer, encoded = done
        if isinstance(answer, Reply) and answer.committed is not None:
            await answer.committed()
        return encoded

    async def _run_or_find(
        self, call: Call[Query, Body], ticket: Ticket | None
    ) -> StoredAnswer | tuple[Response | Reply[Response], _Whole]:
        """Make the effect and store its answer, in one transaction; or find the earlier answer."""
        sealer, now = self._effects.sealer, self._effects.clock.now()
        async with self._effects.database.transaction() as connection:
            if ticket is not None:
                stored = await ticket.claim(connection, sealer, now, KEEP_ANSWERS)
                if stored is not None:
                    return stored
            answer = await self._handler.run(
                StoredCall(call.params, call.query, call.body, call.actor, connection)
            )
            encoded = encode(self.operation, answer)
            if ticket is not None:
                end_user_id = idempotency.end_user_of(answer, call.params)
                await ticket.store(connection, sealer, now, StoredAnswer(encoded[0], encoded[2]), end_user_id)
            return answer, encoded

    async def _replay(self, call: Call[Query, Body], stored: StoredAnswer) -> _Whole | DeferredAnswer:
        renew = self._handler.replay
        if renew is None:
            return self._encode_replay(stored.body, stored.status)

        async def make() -> _Whole:
            before: Any = msgspec.json.decode(stored.body, type=self._handler.response)
            encoded = self._encode_replay(await renew(call, before), stored.status)
            self._sizes.learn(call.actor.world_id, len(encoded[2]), rows=1)
            return encoded

        size = self._sizes.expected(call.actor.world_id, rows=1)
        return DeferredAnswer(size, make) if size > LARGE else await make()

    def _encode_replay(self, body: AnswerBody, status: int) -> _Whole:
        status, headers, content = encode(self.operation, Reply(body, status))
        return status, (*headers, *REPLAYED), content
