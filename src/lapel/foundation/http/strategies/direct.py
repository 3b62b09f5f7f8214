"""Direct operations: one statement authenticates the device and does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import ApiError, RateLimitExceeded, Unauthorized, Unavailable
from lapel.foundation.core.request_id import CLIENT_ADDRESS
from lapel.foundation.database.turns.world_shares import TokenWorlds
from lapel.foundation.http.calls import Body, Call, DirectCall, Query
from lapel.foundation.http.operations import Response
from lapel.foundation.http.responses import encode
from lapel.foundation.http.strategies.strategy import Strategy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lapel.foundation.core.asgi import Receive
    from lapel.foundation.http.calls import Params
    from lapel.foundation.http.operations import DirectHandler, Operation
    from lapel.foundation.http.responses import Headers
    from lapel.foundation.http.strategies.exchange import Encoded, Exchange
    from lapel.foundation.http.strategies.strategy import Checks

# The largest body that is read and decoded before the caller is authenticated.
_DIRECT_BYTES = 64 * 1024


class Direct(Strategy[Query, Body, Response]):
    """Answers a DirectHandler's requests."""

    def __init__(
        self,
        operation: Operation,
        handler: DirectHandler[Query, Body, Response],
        checks: Checks,
        token_worlds: TokenWorlds,
    ) -> None:
        super().__init__(operation, handler, checks)
        self._run = handler.run
        self._direct = handler.direct
        self._token_worlds = token_worlds

    async def answer(self, exchange: Exchange, params: Params, receive: Receive) -> Encoded:
        """See Strategy."""
        checks = self._checks
        if _is_small(exchange.headers):
            token_hash = checks.authenticate.direct_token(exchange.headers.get(b"authorization"))
            if token_hash is not None and not checks.strangers.suspects(CLIENT_ADDRESS.get()):
                try:
                    return await self._answer_directly(token_hash, exchange, params, receive)
                except Unauthorized:
                    checks.limiter.forget(token_hash)
                    raise
        await self._admit(exchange)
        _, query, body = await self._decode(exchange, receive)
        return encode(self.operation, await self._run(Call(params, query, body, exchange.actor)))

    async def _answer_directly(
        self, token_hash: bytes, exchange: Exchange, params: Params, receive: Receive
    ) -> Encoded:
        """Let the operation's own statement authenticate the device and do the work.

        If no device matches, or the request is refused, authenticate the usual way first: a bad token must
        answer 401 before 400 or 429, and only callers with a valid token see rate-limit headers. A device
        that the limiter does not know yet is counted once the statement has found it.
        """
        limiter = self._checks.limiter
        counted: Headers | None = None
        self._token_worlds.expect(token_hash)
        try:
            counted = await limiter.take_known(token_hash)
            _, query, body = await self._decode(exchange, receive)
            found = await self._direct(DirectCall(params, query, body, token_hash))
        except Unavailable:
            raise  # to authenticate would take as long again, and add load to a part that is overloaded
        except RateLimitExceeded:
            await self._enter(exchange, counted=())
            raise
        except ApiError:
            await self._enter(exchange, counted)
            raise
        if found is None:
            await self._enter(exchange, counted)
            return encode(self.operation, await self._run(Call(params, query, body, exchange.actor)))
        actor, answer = found
        exchange.actor = actor
        self._token_worlds.learn(token_hash, actor.world_id)
        exchange.extra = await limiter.take(actor, self.operation) if counted is None else counted
        return encode(self.operation, answer)


def _is_small(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the body is declared to be small."""
    return b"transfer-encoding" not in headers and int(headers.get(b"content-length", 0)) <= _DIRECT_BYTES
