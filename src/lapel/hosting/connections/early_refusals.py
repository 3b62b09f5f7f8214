"""Answers to requests that no application sees, because the connection refuses them."""

from collections.abc import Sequence
from contextvars import Context

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from lapel.foundation.core.actors import ANONYMOUS
from lapel.foundation.core.request_id import REQUEST_HEADERS, REQUEST_ID
from lapel.foundation.telemetry import observe_request

_CODE = "invalid_request"


class EarlyRefusal(Exception):  # it is an answer, not an error of ours
    """Raised inside the parser to end a request with this status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def refusal_answer(refusal: EarlyRefusal, request_id: str) -> bytes:
    """The whole answer, in the form of the contract's errors. The connection closes after it."""
    body = msgspec.json.encode(
        {
            "error": {
                "code": _CODE,
                "message": refusal.message,
                "details": [{"field": "request", "reason": refusal.message}],
                "request_id": request_id,
            }
        }
    )
    head = (
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\ncache-control: no-store\r\n"
        f"x-request-id: {request_id}\r\nconnection: close\r\n\r\n"
    )
    return STATUS_LINE[refusal.status] + head.encode() + body


def report_refusal(status: int, request_id: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Count and log a refusal, as an application does its answers. `headers`: those that have arrived.

    A connection may be in the context of an earlier request, so the line is made in a context of its own.
    """

    def report() -> None:
        REQUEST_ID.set(request_id)
        REQUEST_HEADERS.set(headers)
        observe_request(None, "none", status, 0.0, ANONYMOUS, _CODE)

    Context().run(report)
