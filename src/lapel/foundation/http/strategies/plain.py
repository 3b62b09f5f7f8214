"""Plain operations, also HEAD: decoded, called, answered. A large answer is made in its turn, once there is
room: one that `sized` says is large, or that earlier answers let expect."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec

from lapel.foundation.http.calls import Body, Call, Query, Reply
from lapel.foundation.http.input.pagination import MOST_ROWS
from lapel.foundation.http.operations import Response
from lapel.foundation.http.responses import encode_any
from lapel.foundation.http.strategies.answer_sizes import LARGE, AnswerSizes
from lapel.foundation.http.strategies.exchange import DeferredAnswer
from lapel.foundation.http.strategies.strategy import Strategy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lapel.foundation.core.asgi import Receive
    from lapel.foundation.http.calls import AnswerBody, Params
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
        self._sizes = AnswerSizes()
        self._paged = "limit" in handler.query.__struct_fields__

    async def answer(self, exchange: Exchange, params: Params, receive: Receive) -> Encoded | DeferredAnswer:
        """See Strategy."""
        await self._admit(exchange)
        _, query, body = await self._decode(exchange, receive)
        call = Call(params, query, body, exchange.actor)
        run = self._head if exchange.scope["method"] == "HEAD" else self._run
        if self._sized is not None:
            size = await self._sized(call)
        else:
            size = self._sizes.expected(call.actor.world_id, _most_rows(query))
        if size > LARGE:
            in_turn = self.operation.answer != "file"
            return DeferredAnswer(size, lambda: self._make(call, run), in_turn)
        return await self._make(call, run)

    async def _make(
        self,
        call: Call[Query, Body],
        run: Callable[[Call[Query, Body]], Awaitable[Response | Reply[Response]]],
    ) -> Encoded:
        answer = await run(call)
        encoded = encode_any(self.operation, answer)
        if self._sized is None and isinstance(encoded[2], bytes):
            body = answer.body if isinstance(answer, Reply) else answer
            self._sizes.learn(call.actor.world_id, len(encoded[2]), _rows(body) if self._paged else 1)
        return encoded


def _most_rows(query: msgspec.Struct) -> int:
    """The most rows of the answer; 1 if it is no page of a list."""
    limit: int | None = getattr(query, "limit", 1)
    return MOST_ROWS if limit is None else limit


def _rows(answer: AnswerBody) -> int:
    """The rows of a page; 1 of every other answer."""
    data: object = getattr(answer, "data", None)
    return len(cast("list[object]", data)) if isinstance(data, list) else 1
