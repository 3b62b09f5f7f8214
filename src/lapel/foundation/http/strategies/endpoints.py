"""An operation, and what is compiled from it once, at the start."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from lapel.foundation.http.input.decoding import BodyDecoder, QueryDecoder
from lapel.foundation.http.operations import Operation

# One decoder for each struct, because many operations share the empty ones.
_body_decoder = cache(BodyDecoder)
_query_decoder = cache(QueryDecoder)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An operation and what was compiled from it."""

    operation: Operation
    body: BodyDecoder
    query: QueryDecoder
    # The same for the text fields of a form.
    fields: QueryDecoder
    parameters: tuple[str, ...]
    writes: bool
    # Whether it stores a client's own text.
    grows: bool


def endpoint_of(operation: Operation) -> Endpoint:
    """Compile an operation."""
    return Endpoint(
        operation,
        _body_decoder(operation.body),
        _query_decoder(operation.query),
        _query_decoder(operation.body),
        operation.parameters,
        # Deleting makes room; `none` stores nothing, or (a heartbeat) checks the disk itself.
        writes=operation.method not in ("GET", "DELETE") and operation.idempotency != "none",
        grows=operation.idempotency == "stored"
        or operation.method in ("PUT", "PATCH")
        or bool(operation.files),
    )
