"""Answers to requests that no application sees, because the connection refuses them."""

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE


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
                "code": "invalid_request",
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
