"""`stored` operations: effect and answer in one transaction, once for each Idempotency-Key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from lapel.foundation.http import idempotency
from lapel.foundation.http.idempotency import Stored
from lapel.foundation.http.operations import Reply
from lapel.foundation.http.refusals import AGAIN
from lapel.foundation.http.responses import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.core.clock import Clock
    from lapel.foundation.database.pool import Database
    from lapel.foundation.http.idempotency import Ticket
    from lapel.foundation.http.operations import Answer, Operation
    from lapel.foundation.http.responses import Headers
    from lapel.foundation.identity.seal import Sealer

_KEEP_ANSWERS = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Effect:
    """What a `stored` operation is asked to do; `ticket` only with an Idempotency-Key."""

    operation: Operation
    actor: Actor
    params: Mapping[str, str]
    query: msgspec.Struct
    body: msgspec.Struct
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


async def _replay(effect: Effect, stored: Stored) -> tuple[int, Headers, bytes]:
    operation = effect.operation
    body: msgspec.Struct | bytes = stored.body
    if operation.replay is not None and operation.response is not None:
        before: Any = msgspec.json.decode(stored.body, type=operation.response)
        body = await operation.replay(effect.actor, effect.params, before)
    return encode(operation, Reply(body, stored.status, (("Idempotent-Replayed", "true"),)))
