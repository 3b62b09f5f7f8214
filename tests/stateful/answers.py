"""What calls are expected to answer."""

from __future__ import annotations

from typing import NamedTuple


class Answer(NamedTuple):
    """A status and, of a refusal, its code."""

    status: int
    code: str = ""


OK = Answer(200)
NOT_FOUND = Answer(404, "not_found")
UNAUTHORIZED = Answer(401, "unauthorized")
CONFLICT = Answer(409, "conflict")
BOUND = Answer(409, "device_already_bound")
INTEGRITY = Answer(409, "integrity_failure")
NOTHING_UPLOADED = Answer(409, "media_not_uploaded")
REUSED = Answer(422, "idempotency_key_reused")
