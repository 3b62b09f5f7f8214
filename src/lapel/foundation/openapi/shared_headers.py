"""The parameters and headers that many operations of the OpenAPI document share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lapel.foundation.openapi.schemas import Schema

_DATE = "^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])$"
PARAMETERS: dict[str, Schema] = {
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Where `x-idempotency` is `stored`, a repeat with the same key within 24 hours gets "
        "the first answer, and has no second effect.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,255}$", "examples": ["order-66"]},
    },
    "Version": {
        "name": "Bota-Version",
        "in": "header",
        "description": "The API version that the client was written for: a date. The answer repeats it.",
        # No `format`: openapi-python-client leaves out each operation with a header that is a date.
        "schema": {"type": "string", "pattern": _DATE, "examples": ["2026-01-15"]},
    },
    "Strict": {
        "name": "Lapel-Strict",
        "in": "header",
        "description": "With `true`, an unknown field of the body is 400. Without it, the answer names the "
        "field in `Warning`.",
        "schema": {"type": "string", "pattern": "^(true|false)$"},
    },
}

LAST_EVENT_ID: Schema = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The `id` of the last event that the client got: the stream continues after it. Browsers "
    "send this header when they reconnect.",
    "schema": {"type": "string", "maxLength": 64},
}

_WHOLE: Schema = {"type": "integer", "minimum": 0}
HEADERS: dict[str, Schema] = {
    "X-Request-Id": {
        "description": "This request's id, which is also in the server's log.",
        "required": True,
        "schema": {"type": "string", "pattern": "^req_[A-Za-z0-9]{1,64}$"},
    },
    "X-RateLimit-Limit": {
        "description": "The rate limit with the fewest requests left. Absent if limits are off.",
        "schema": _WHOLE,
    },
    "X-RateLimit-Remaining": {"description": "The requests that this limit still allows.", "schema": _WHOLE},
    "X-RateLimit-Reset": {
        "description": "The time at which this limit counts from 0 again, in Unix seconds.",
        "schema": _WHOLE,
    },
    "Retry-After": {
        "description": "Seconds to wait before repeating the request.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {"description": "`Bearer`.", "required": True, "schema": {"const": "Bearer"}},
    "Content-Disposition": {
        "description": "The file name under which to save the answer.",
        "required": True,
        "schema": {"type": "string", "pattern": "^attachment; filename="},
    },
    "Warning": {
        "description": "Names the fields of the body that are not known and were ignored.",
        "schema": {"type": "string", "pattern": '^299 lapel "', "maxLength": 1024},
    },
    "Idempotent-Replayed": {
        "description": "Present if this is the stored answer to an earlier request.",
        "schema": {"const": "true"},
    },
}
