"""Forms: the handler reads the body itself, only as fast as the handler can store the files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.http.calls import Body, FormCall, Query
from lapel.foundation.http.input.decoding import QueryDecoder
from lapel.foundation.http.input.forms import Form
from lapel.foundation.http.input.headers import check_version, wants_strictness
from lapel.foundation.http.input.unknown_fields import warning_of
from lapel.foundation.http.operations import Response
from lapel.foundation.http.responses import encode
from lapel.foundation.http.strategies import idempotency
from lapel.foundation.http.strategies.strategy import Strategy

if TYPE_CHECKING:
    from lapel.foundation.core.asgi import Receive
    from lapel.foundation.http.calls import Params
    from lapel.foundation.http.operations import FormHandler, Operation
    from lapel.foundation.http.strategies.exchange import Encoded, Exchange
    from lapel.foundation.http.strategies.strategy import Checks


class Forms(Strategy[Query, Body, Response]):
    """Answers a FormHandler's requests."""

    def __init__(
        self, operation: Operation, handler: FormHandler[Query, Body, Response], checks: Checks
    ) -> None:
        super().__init__(operation, handler, checks)
        self._run = handler.run
        self._files = handler.files
        # The text fields of a form are converted like the fields of a query string.
        self._fields = QueryDecoder(handler.body)

    async def answer(self, exchange: Exchange, params: Params, receive: Receive) -> Encoded:
        """See Strategy."""
        await self._admit(exchange)
        check_version(exchange.headers.get(b"bota-version"))
        idempotency.read_key(exchange.headers.get(b"idempotency-key"))
        query = self._decode_query(exchange.scope["query_string"])
        form = Form(
            receive,
            exchange.headers,
            files=self._files,
            fields=self._fields,
            field_bytes=self._checks.body_limit,
            strict=wants_strictness(exchange.headers.get(b"lapel-strict")),
        )
        try:
            answer = await self._run(FormCall(params, query, form, exchange.actor))
        finally:
            exchange.warnings = warning_of(form.unknown)
        return encode(self.operation, answer)
