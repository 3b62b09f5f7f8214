"""Plain operations, also HEAD: decoded, called, answered. A large answer is made only once there is room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.http.calls import Body, Call, Query
from lapel.foundation.http.large_responses import PIECE
from lapel.foundation.http.operations import Response
from lapel.foundation.http.responses import encode_any
from lapel.foundation.http.strategies.exchange import DeferredAnswer
from lapel.foundation.http.strategies.strategy import Strategy

if TYPE_CHECKING:
    from lapel.foundation.core.asgi import Receive
    from lapel.foundation.http.calls import Params
    from lapel.foundation.http.operations import Operation, PlainHandler
    from lapel.foundation.http.strategies.exchange import Encoded, Exchange
    from lapel.foundation.http.strategies.strategy import Checks


class Plain(Strategy[Query, Body, Response]):
    """Answers a PlainHandler's requests."""

    def __init__(
        self, operation: Operation, handler: PlainHandler[Query, Body, Response], checks: Checks
    ) -> None:
        super().__init__(operation, handler, checks)
        self._run = handler.run
        self._head = handler.head or handler.run
        self._sized = handler.sized

    async def answer(self, exchange: Exchange, params: Params, receive: Receive) -> Encoded | DeferredAnswer:
        """See Strategy."""
        await self._admit(exchange)
        _, query, body = await self._decode(exchange, receive)
        call = Call(params, query, body, exchange.actor)
        run = self._head if exchange.scope["method"] == "HEAD" else self._run
        if self._sized is not None:
            size = await self._sized(call)
            if size > PIECE:

                async def make() -> Encoded:
                    return encode_any(self.operation, await run(call))

                return DeferredAnswer(size, make)
        return encode_any(self.operation, await run(call))
