"""The messages that clients send: one JSON-RPC object each.

Sources: "Request object", JSON-RPC 2.0; "Base Protocol", Model Context Protocol, revision 2025-11-25.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

PARSE_ERROR, INVALID_REQUEST = -32700, -32600


class BadMessage(Exception):
    """The body is no message. `code` is JSON-RPC's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def answer(self) -> bytes:
        """The error as JSON-RPC; it cannot repeat an id."""
        return msgspec.json.encode(
            {"jsonrpc": "2.0", "id": None, "error": {"code": self.code, "message": self.message}}
        )


def read_message(body: bytes) -> bytes | None:
    """The message, written anew: every reader then takes the same of two equal keys. None for the answer to a
    request, because the server sends none.

    Raises BadMessage when the body is no request, notification or answer.
    """
    try:
        message: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadMessage(PARSE_ERROR, "The body is not valid JSON.") from None
    if isinstance(message, list):
        raise BadMessage(INVALID_REQUEST, "Send one message in each request: batches are not served.")
    if not isinstance(message, dict):
        raise BadMessage(INVALID_REQUEST, "A message is a JSON object.")
    fields = cast("dict[str, Any]", message)
    if fields.get("jsonrpc") != "2.0":
        raise BadMessage(INVALID_REQUEST, "`jsonrpc` is `2.0`.")
    if "id" in fields and type(fields["id"]) not in (str, int):
        raise BadMessage(INVALID_REQUEST, "`id` is a string or an integer.")
    if "method" not in fields and "id" in fields and ("result" in fields) != ("error" in fields):
        return None
    if not isinstance(fields.get("method"), str):
        raise BadMessage(INVALID_REQUEST, "`method` is a string.")
    if not isinstance(fields.get("params", {}), dict):
        raise BadMessage(INVALID_REQUEST, "`params` is a JSON object.")
    return msgspec.json.encode(fields)
