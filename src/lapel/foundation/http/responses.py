"""Turns a handler's answer, or an error, into status, headers and bytes (problem details: RFC 9457)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

from lapel.foundation.core.errors import ApiError, Detail
from lapel.foundation.http.calls import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lapel.foundation.http.calls import Answer, AnswerBody, Content
    from lapel.foundation.http.operations import Operation

Headers: TypeAlias = "tuple[tuple[bytes, bytes], ...]"

_TYPES: dict[str, Headers] = {
    "json": ((b"content-type", b"application/json"),),
    "empty": (),
    "file": ((b"x-content-type-options", b"nosniff"),),
    "text": ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),),
    # The last header keeps nginx from holding events back.
    "stream": ((b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")),
    "html": (
        (b"content-type", b"text/html; charset=utf-8"),
        (
            b"content-security-policy",
            b"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'",
        ),
        (b"x-content-type-options", b"nosniff"),
    ),
}
# The headers of a stream, also of one that answers an operation whose answer is JSON otherwise.
STREAM_HEADERS: Headers = _TYPES["stream"]
_PROBLEM: Headers = ((b"content-type", b"application/problem+json"),)
_encode = msgspec.json.Encoder().encode


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """The error, for programs (`code`, `param`) and for people (`message`)."""

    code: str
    message: str
    request_id: str
    param: str | None = None
    details: tuple[Detail, ...] = ()
    resource_id: str | None = None


class ErrorEnvelope(msgspec.Struct, frozen=True):
    """The body of every error answer."""

    error: ErrorBody


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The error in the form of RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    param: str | None = None
    details: tuple[Detail, ...] = ()
    resource_id: str | None = None


def headers_of(operation: Operation) -> Headers:
    """The headers that every answer of the operation has."""
    return _TYPES[operation.answer]


def encode(operation: Operation, answer: Answer) -> tuple[int, Headers, bytes]:
    """Status, headers (Content-Type and the handler's own) and body of a handler's answer.

    Raises TypeError for an answer in pieces.
    """
    status, headers, body = encode_any(operation, answer)
    if not isinstance(body, bytes):
        raise TypeError(f"{operation.name} may not answer in pieces")
    return status, headers, body


def encode_any(operation: Operation, answer: Answer) -> tuple[int, Headers, Content]:
    """`encode` for an answer that may be in pieces."""
    if isinstance(answer, Reply):
        own = tuple((name.lower().encode(), value.encode()) for name, value in answer.headers)
        status = answer.status or operation.status
        return status, (*_TYPES[operation.answer], *own), _content(answer.body)
    return operation.status, _TYPES[operation.answer], _content(answer)


def _content(body: AnswerBody) -> Content:
    if isinstance(body, msgspec.Struct):
        return _encode(body)
    return b"" if body is None else body


def problem(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the client asked for `application/problem+json`."""
    return b"application/problem+json" in headers.get(b"accept", b"")


def refuse(error: ApiError, request_id: str, as_problem: bool) -> tuple[int, Headers, bytes]:
    """Status, headers and body of an error."""
    own = tuple((name.lower().encode(), value.encode()) for name, value in error.headers)
    if as_problem:
        body: msgspec.Struct = Problem(
            type="about:blank",
            title=error.code.replace("_", " ").capitalize(),
            status=error.status,
            detail=error.message,
            code=error.code,
            request_id=request_id,
            param=error.param,
            details=error.details,
            resource_id=error.resource_id,
        )
        return error.status, (*_PROBLEM, *own), _encode(body)
    body = ErrorEnvelope(
        ErrorBody(error.code, error.message, request_id, error.param, error.details, error.resource_id)
    )
    return error.status, (*_TYPES["json"], *own), _encode(body)
