"""Streams: admitted and decoded like any other call; the events are then sent as they happen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.http.calls import Body, Query, StreamCall
from lapel.foundation.http.responses import headers_of
from lapel.foundation.http.strategies.exchange import StreamedAnswer
from lapel.foundation.http.strategies.strategy import Strategy

if TYPE_CHECKING:
    from lapel.foundation.core.asgi import Receive
    from lapel.foundation.http.calls import Params
    from lapel.foundation.http.operations import Operation, StreamHandler
    from lapel.foundation.http.strategies.exchange import Exchange
    from lapel.foundation.http.strategies.strategy import Checks


class Streaming(Strategy[Query, Body, bytes]):
    """Answers a StreamHandler's requests."""

    def __init__(self, operation: Operation, handler: StreamHandler[Query, Body], checks: Checks) -> None:
        super().__init__(operation, handler, checks)
        self._run = handler.run

    async def answer(self, exchange: Exchange, params: Params, receive: Receive) -> StreamedAnswer:
        """See Strategy."""
        await self._admit(exchange)
        _, query, body = await self._decode(exchange, receive)
        last = exchange.headers.get(b"last-event-id")
        call = StreamCall(params, query, body, exchange.actor, last.decode("latin-1") if last else None)
        return StreamedAnswer(
            self.operation.status,
            lambda: headers_of(self.operation),
            self._run(call),
            lambda: self._checks.check_again(exchange, self.operation),
        )
