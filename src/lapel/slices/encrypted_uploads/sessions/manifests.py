"""Accept the manifest of a staged object."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

import structlog

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Conflict, Detail, InvalidRequest, Unavailable
from lapel.foundation.database import audit
from lapel.foundation.http.calls import Reply
from lapel.foundation.identity.seal import SealBroken
from lapel.foundation.queue import jobs
from lapel.foundation.storage.errors import ObjectMissing
from lapel.slices.encrypted_uploads.documents import manifest
from lapel.slices.encrypted_uploads.documents.failures import Refused
from lapel.slices.encrypted_uploads.errors import StagingMissing
from lapel.slices.encrypted_uploads.payloads import PUBLISH, PublishSession
from lapel.slices.encrypted_uploads.sessions import session_queries
from lapel.slices.encrypted_uploads.sessions.issuance import recipient_context
from lapel.slices.encrypted_uploads.sessions.rules import check_owner, check_uploadable, find_session
from lapel.slices.encrypted_uploads.sessions.views import decoded, shown_state
from lapel.slices.encrypted_uploads.wire import AcceptedManifest
from lapel.slices.recordings.errors import IntegrityFailure
from lapel.slices.recordings.service import find_identity

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.ports import Ports
    from lapel.slices.encrypted_uploads.documents.manifest import UploadManifest
    from lapel.slices.encrypted_uploads.sessions.rows import UploadSessionRow
    from lapel.slices.encrypted_uploads.wire import AcceptedState, SendManifest

_PARAM = "manifest_base64"

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Manifests:
    """Accepts manifests."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def accept(
        self, actor: Actor, recording_id: str, session_id: str, body: SendManifest
    ) -> Reply[AcceptedManifest]:
        """Accept the manifest of a staged object, or answer that this manifest was accepted before.

        Raises:

        - InvalidRequest when the manifest is malformed, or does not have the SHA-256 that was sent with it.
        - NotFound when the caller reaches no such session.
        - Conflict when the session takes no manifest or accepted another one, has another revision or is of
          an earlier binding.
        - StagingMissing when nothing is staged.
        - IntegrityFailure when the manifest is not that of the session, or its envelope does not open.
        - StoreUnavailable when the store fails, and Unavailable when the session's key cannot be opened.
        """
        data, fields = _parsed(body)
        async with self._ports.database.acquire() as connection:
            row = await find_session(connection, actor, recording_id, session_id)
        check_owner(row, body.owner_revision)
        if row.state != "staging":
            return _again(row, data)
        self._check_open(row)
        await self._verify(actor, row, data, fields)
        crash_point("encrypted-manifest:verified")
        async with self._ports.database.transaction() as connection:
            recording = await find_identity(connection, actor, recording_id, lock=True)
            row = await find_session(connection, actor, recording_id, session_id, lock=True)
            check_owner(row, body.owner_revision)
            if row.state != "staging":
                return _again(row, data)
            self._check_open(row)
            check_uploadable(recording)
            now = self._ports.clock.now()
            await session_queries.accept(connection, actor.world_id, row.id, data, now)
            crash_point("encrypted-manifest:accepted")
            payload = PublishSession(actor.world_id, row.id, row.ciphertext_length)
            await jobs.enqueue(connection, PUBLISH, payload, dedupe=row.id)
            await audit.note(
                connection, self._ports.ids, now, actor, "encrypted_upload.accepted", row.id, row.end_user_id
            )
            crash_point("encrypted-manifest:before-commit")
        crash_point("encrypted-manifest:committed")
        return _accepted(row, "ready")

    def _check_open(self, row: UploadSessionRow) -> None:
        """Raises Conflict when the time of a session is over: its staged object may be gone at any time."""
        if shown_state(row, self._ports.clock.now()) == "expired":
            raise Conflict("The session has expired. Recover it.")

    async def _verify(self, actor: Actor, row: UploadSessionRow, data: bytes, fields: UploadManifest) -> None:
        """Compare a manifest with its session and with the staged object, and open its envelope.

        The store has compared the object's length and SHA-256 with the signed ones when it was PUT, and the
        worker hashes it again.
        """
        private_key = self._private_key(actor.world_id, row)
        try:
            manifest.check(fields, row.upload_authorization)
            size = (await self._ports.store.head(row.staging_key)).size
            manifest.check_length(fields, size)
            manifest.open_key(data, private_key, row.upload_authorization)
        except ObjectMissing:
            raise StagingMissing(
                "Nothing is staged for this session yet. PUT the object, then send the same manifest again."
            ) from None
        except Refused as refused:
            raise IntegrityFailure(
                str(refused), param=_PARAM, details=(Detail(_PARAM, refused.reason),)
            ) from None

    def _private_key(self, world_id: int, row: UploadSessionRow) -> bytes:
        """The session's key. Raises Unavailable when it was sealed under a secret that is not loaded."""
        if row.sealed_recipient_key is None:
            raise AssertionError("a session that is staging has its key")
        try:
            return self._ports.sealer.open(row.sealed_recipient_key, recipient_context(world_id, row.id))
        except SealBroken:
            _log.error("encrypted_upload.unreadable_key", session=row.id)
            raise Unavailable(
                "The key of this session was sealed under a secret that is not loaded. Recover the session.",
                retry_after=60,
            ) from None


def _parsed(body: SendManifest) -> tuple[bytes, UploadManifest]:
    """The manifest as bytes and as fields. Raises InvalidRequest, whose reason is the contract's word."""
    data = decoded(body.manifest_base64, manifest.LENGTH, _PARAM)
    if not hmac.compare_digest(hashlib.sha256(data).hexdigest(), body.manifest_sha256):
        raise InvalidRequest(
            "`manifest_sha256` is not the SHA-256 of the manifest.",
            param="manifest_sha256",
            reason="digest_mismatch",
        )
    try:
        return data, manifest.parse(data)
    except Refused as refused:
        raise InvalidRequest(str(refused), param=_PARAM, reason=refused.reason) from None


def _again(row: UploadSessionRow, data: bytes) -> Reply[AcceptedManifest]:
    """The answer for a session that is not `staging`. Raises Conflict unless it accepted this manifest."""
    state = row.state
    if state in ("staging", "failed", "cancelled"):
        raise Conflict(f"The session is {state} and takes no manifest.")
    if row.manifest != data:
        raise Conflict("The session has accepted another manifest.")
    return _accepted(row, state)


def _accepted(row: UploadSessionRow, state: AcceptedState) -> Reply[AcceptedManifest]:
    answer = AcceptedManifest(session_id=row.id, owner_revision=row.owner_revision, state=state)
    return Reply(answer, status=200 if state == "published" else 202)
