"""`stored` operations: effect and answer in one transaction, once for each Idempotency-Key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from lapel.foundation.http.calls import Call, Reply, StoredCall
from lapel.foundation.http.refusals import AGAIN
from lapel.foundation.http.responses import encode
from lapel.foundation.http.strategies import idempotency
from lapel.foundation.http.strategies.idempotency import Stored

if TYPE_CHECKING:
    from lapel.foundation.core.clock import Clock
    from lapel.foundation.database.pool import Database
    from lapel.foundation.http.calls import Answer
    from lapel.foundation.http.operations import Operation, StoredHandler
    from lapel.foundation.http.responses import Headers
    from lapel.foundation.http.strategies.idempotency import Ticket
    from lapel.foundation.identity.seal import Sealer

_KEEP_ANSWERS = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Effect:
    """What a `stored` operation is asked to do; `ticket` only with an Idempotency-Key."""

    operation: Operation
    handler: StoredHandler[Any, Any, Any]
    call: Call[Any, Any]
    ticket: Ticket | None


class Effects:
    """Runs `stored` operations."""

    def __init__(self, database: Database, sealer: Sealer, clock: Clock) -> None:
        self._database = database
        self._sealer = sealer
        self._clock = clock

    async def run(self, effect: Effect) -> tuple[int, Headers, bytes]:
        """The answer (status, headers, body) of this run, or of an earlier one with the same key.

        Raises what the operation raises, what `Ticket.claim` raises, and Unavailable when the database is
        away. One of AGAIN is raised only when a second run meets it too.
        """
        try:
            return await self._run_once(effect)
        except AGAIN:
            return await self._run_once(effect)

    async def _run_once(self, effect: Effect) -> tuple[int, Headers, bytes]:
        done = await self._run_or_find(effect)
        if isinstance(done, Stored):
            # `replay` may take a connection: holding another one meanwhile, repeats could starve each other.
            return await _replay(effect, done)
        answer, encoded = done
        if isinstance(answer, Reply) and answer.committed is not None:
            await answer.committed()
        return encoded

    async def _run_or_find(self, effect: Effect) -> Stored | tuple[Answer, tuple[int, Headers, bytes]]:
        """The effect and its answer, in one transaction; or the answer that was given before."""
        now, call, ticket = self._clock.now(), effect.call, effect.ticket
        async with self._database.transaction() as connection:
            if ticket is not None:
                stored = await ticket.claim(connection, self._sealer, now, _KEEP_ANSWERS)
                if stored is not None:
                    return stored
            answer: Answer = await effect.handler.run(
                StoredCall(call.params, call.query, call.body, call.actor, connection)
            )
            encoded = encode(effect.operation, answer)
            if ticket is not None:
                end_user_id = idempotency.end_user_of(answer, call.params)
                stored = Stored(encoded[0], encoded[2])
                await ticket.store(connection, self._sealer, now, stored, end_user_id)
            return answer, encoded


async def _replay(effect: Effect, stored: Stored) -> tuple[int, Headers, bytes]:
    handler = effect.handler
    body: msgspec.Struct | bytes = stored.body
    if handler.replay is not None:
        body = await handler.replay(effect.call, msgspec.json.decode(stored.body, type=handler.response))
    return encode(effect.operation, Reply(body, stored.status, (("Idempotent-Replayed", "true"),)))
