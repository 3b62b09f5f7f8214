"""Errors (section 3), in both of their forms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.strict.shapes import all_of, array, record, text, word

CODES: dict[int, tuple[str, ...]] = {
    400: ("invalid_request",),
    401: ("unauthorized",),
    403: ("forbidden",),
    404: ("not_found",),
    405: ("method_not_allowed",),
    409: (
        "resource_already_exists", "device_already_bound", "conflict", "media_not_uploaded",
        "transcription_in_progress", "transcript_not_ready", "integrity_failure",
        "idempotency_key_in_use", "encrypted_upload_v2_staging_missing", "encrypted_upload_v2_required",
    ),
    413: ("payload_too_large",),
    415: ("unsupported_media_type",),
    422: ("idempotency_key_reused",),
    425: ("upload_verification_pending",),
    429: ("rate_limit_exceeded",),
    500: ("internal_error",),
    502: ("provider_error",),
    503: ("unavailable",),
}  # fmt: skip
_DETAILS = array(record({"field": text(1), "reason": text(1)}), least=1)
_REQUEST = text(pattern=r"req_[A-Za-z0-9]{1,64}")
# A trace, a path of a source file, or a statement.
_LEAKS = ("Traceback", 'File "', ".py", "SELECT ", "INSERT ", "UPDATE ", "asyncpg")


def refusal(status: int, content_type: str) -> Any:
    """The shape of an answer of 400 and above."""
    code = word(*CODES.get(status, ()))
    told = {
        "param": text(1),
        "details": _DETAILS,
        "resource_id": text(1, 128, r"[a-z]+_[A-Za-z0-9]+"),
        "doc_url": text(1),
    }
    if content_type == "application/problem+json":
        required = {
            "type": text(1), "title": text(1), "status": _exactly(status), "detail": text(1),
            "code": code, "request_id": _REQUEST,
        }  # fmt: skip
        return all_of(record(required, told | {"instance": text(1)}), _shows_nothing)
    inner = record({"code": code, "message": text(1), "request_id": _REQUEST}, told)
    return all_of(record({"error": inner}), _invalid_has_details, _shows_nothing)


def _exactly(status: int) -> Any:
    def shape(value: Any, at: str) -> Iterator[str]:
        if type(value) is not int or value != status:
            yield f"{at}: {value!r} is not {status}"

    return shape


def _invalid_has_details(value: Any, at: str) -> Iterator[str]:
    error = value.get("error") if isinstance(value, dict) else None
    if isinstance(error, dict) and error.get("code") == "invalid_request" and "details" not in error:
        yield f"{at}.error: invalid_request without details"


def _shows_nothing(value: Any, at: str) -> Iterator[str]:
    said = value.get("error", value) if isinstance(value, dict) else None
    if isinstance(said, dict) and said.get("code") == "internal_error":
        shown = str(said.get("message", said.get("detail")))
        yield from (f"{at}: it shows {leak!r}" for leak in _LEAKS if leak in shown)
