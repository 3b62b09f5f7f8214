"""Rows as structs of the contract, and documents of requests as bytes."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.clock import timestamp
from lapel.foundation.core.errors import InvalidRequest
from lapel.slices.encrypted_uploads.wire import EncryptedUploadSession, SessionFailure, Staging

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.slices.encrypted_uploads.sessions.rows import UploadSessionRow
    from lapel.slices.encrypted_uploads.wire import ShownState


def decoded(text: str, length: int, param: str) -> bytes:
    """The bytes of a document in standard base64, padded and canonical.

    Raises InvalidRequest, whose reason is the contract's word: `noncanonical_encoding`, `invalid_length`.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = None
    if data is None or encoded(data) != text:
        raise InvalidRequest(
            f"`{param}` must be standard base64 with its padding, in its canonical form.",
            param=param,
            reason="noncanonical_encoding",
        )
    if len(data) != length:
        raise InvalidRequest(
            f"`{param}` must have {length} bytes, not {len(data)}.", param=param, reason="invalid_length"
        )
    return data


def encoded(data: bytes) -> str:
    """Standard base64 with its padding."""
    return base64.b64encode(data).decode()


def shown_state(row: UploadSessionRow, now: datetime) -> ShownState:
    """The state of a session: `expired` for one that is `staging` and whose time is over."""
    return "expired" if row.is_expired(now) else row.state


def session_of(
    row: UploadSessionRow, project_id: str, now: datetime, staging: Staging | None = None
) -> EncryptedUploadSession:
    """A session as it is at `now`."""
    published, failed, receipt = row.published_at, row.failure_code, row.receipt
    return EncryptedUploadSession(
        session_id=row.id,
        owner_revision=row.owner_revision,
        state=shown_state(row, now),
        channel=row.channel,
        policy=row.policy,
        recording_id=row.recording_id,
        device_id=row.device_id,
        end_user_id=row.end_user_id,
        project_id=project_id,
        ciphertext_length=row.ciphertext_length,
        ciphertext_sha256=row.ciphertext_sha256,
        authorization_base64=encoded(row.upload_authorization),
        authorization_sha256=hashlib.sha256(row.upload_authorization).hexdigest(),
        expires_at=timestamp(row.expires_at),
        published_at=msgspec.UNSET if published is None else timestamp(published),
        plaintext_length=(
            msgspec.UNSET if published is None or row.plaintext_length is None else row.plaintext_length
        ),
        completion_receipt_base64=msgspec.UNSET if receipt is None else encoded(receipt),
        completion_receipt_sha256=(msgspec.UNSET if receipt is None else hashlib.sha256(receipt).hexdigest()),
        error=(
            msgspec.UNSET
            if failed is None
            else SessionFailure(code=failed, message=row.failure_message or failed)
        ),
        staging=msgspec.UNSET if staging is None else staging,
    )
