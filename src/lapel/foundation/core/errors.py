"""The errors of the API: each has a status, a code, and a message that says what to do.

The request path turns an ApiError that a handler raises into the error body of the HTTP contract. Any other
exception becomes a 500 without details, and is logged with its request id. `words_of` is for messages about
errors of the operating system.
"""

from __future__ import annotations

import os
import socket
import ssl
from typing import ClassVar

import msgspec


class Detail(msgspec.Struct, frozen=True):
    """One field that was refused, and the reason."""

    field: str
    reason: str


class ApiError(Exception):
    """Base of all errors that a client may see."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        details: tuple[Detail, ...] = (),
        resource_id: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.details = details
        self.resource_id = resource_id
        self.headers = headers


class InvalidRequest(ApiError):
    """The request does not match the operation."""

    status, code = 400, "invalid_request"

    def __init__(self, message: str, *, param: str | None = None, reason: str | None = None) -> None:
        details = (Detail(param or "body", reason or message),)
        super().__init__(message, param=param, details=details)


class Unauthorized(ApiError):
    """There is no token, or the token is malformed, unknown, revoked or expired."""

    status, code = 401, "unauthorized"

    def __init__(self, message: str = "Give a valid token: `Authorization: Bearer <token>`.") -> None:
        super().__init__(message, headers=(("WWW-Authenticate", "Bearer"),))


class Forbidden(ApiError):
    """The token is valid, but it may not do this."""

    status, code = 403, "forbidden"


class NotFound(ApiError):
    """There is no such resource in this project and world."""

    status, code = 404, "not_found"


class MethodNotAllowed(ApiError):
    """The path exists, but not for this method."""

    status, code = 405, "method_not_allowed"

    def __init__(self, allowed: tuple[str, ...]) -> None:
        listed = ", ".join(allowed)
        super().__init__(f"This path takes {listed}.", headers=(("Allow", listed),))


class ResourceAlreadyExists(ApiError):
    """Another resource already has this unique value; `resource_id` names that resource."""

    status, code = 409, "resource_already_exists"


class Conflict(ApiError):
    """The request contradicts the stored state."""

    status, code = 409, "conflict"


class IdempotencyKeyInUse(ApiError):
    """The first request with this Idempotency-Key is still running."""

    status, code = 409, "idempotency_key_in_use"

    def __init__(self) -> None:
        super().__init__(
            "A request with this Idempotency-Key is still running. Repeat it in a second.",
            headers=(("Retry-After", "1"),),
        )


class PayloadTooLarge(ApiError):
    """The body is larger than allowed."""

    status, code = 413, "payload_too_large"


class UnsupportedMediaType(ApiError):
    """The route does not accept the body's Content-Type."""

    status, code = 415, "unsupported_media_type"


class IdempotencyKeyReused(ApiError):
    """The idempotency key was used for another request."""

    status, code = 422, "idempotency_key_reused"


class RateLimitExceeded(ApiError):
    """Too many requests; `Retry-After` says when to repeat the request."""

    status, code = 429, "rate_limit_exceeded"


class InternalError(ApiError):
    """The server failed."""

    status, code = 500, "internal_error"


class Unavailable(ApiError):
    """A part of the server that this request needs is unavailable; repeat the request later."""

    status, code = 503, "unavailable"

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message, headers=(("Retry-After", str(retry_after)),))


def words_of(fault: OSError) -> str:
    """The system's words, such as `Connection refused`. asyncio's own words repeat the address."""
    # The numbers of name servers and of OpenSSL are not those of the system.
    if fault.errno is None or isinstance(fault, (socket.gaierror, ssl.SSLError)):
        return fault.strerror or str(fault)
    return os.strerror(fault.errno)


def words_of_database(fault: BaseException) -> str:
    """What PostgreSQL, its driver or the system says of a database that fails: a line without a period."""
    if isinstance(fault, TimeoutError):
        return "no answer in time"
    if isinstance(fault, OSError):
        return words_of(fault)
    return "; ".join(str(fault).splitlines()).rstrip(".")
