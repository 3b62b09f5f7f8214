"""The sessions of encrypted uploads over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict
from lapel.foundation.http.authorization import Access
from lapel.foundation.http.routes import Routes, created
from lapel.slices.encrypted_uploads.errors import StagingMissing
from lapel.slices.encrypted_uploads.wire import (
    AcceptedManifest,
    CreateEncryptedUploadSession,
    EncryptedUploadSession,
    OwnedRevision,
    RecoverSession,
    SendManifest,
    Staging,
)
from lapel.slices.recordings.errors import IntegrityFailure
from lapel.slices.recordings.service import UPLOAD_URLS

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.slices.encrypted_uploads.sessions.service import UploadSessions

_WRITE = Access("recordings:write", end_user_keys="filter")
# The answer has what a device needs for the upload, so a key that only reads does not get it either.
_ROUTES = Routes("Encrypted uploads", read=_WRITE, write=_WRITE)
_ALL = "/v1/recordings/{recording_id}/encrypted-upload-v2/sessions"
_ONE = f"{_ALL}/{{upload_session_id}}"


def operations(sessions: UploadSessions) -> tuple[Operation, ...]:
    """All routes of encrypted uploads."""
    return (
        _ROUTES.post(
            _ALL, "create_encrypted_upload_session", EncryptedUploadSession, CreateEncryptedUploadSession
        ).stored(
            "Begin an encrypted upload",
            lambda call: created(sessions.create(call.connection, call.actor, call.id, call.body)),
            "For an object that a device encrypted so that only the server can open it. PUT the object to "
            "`staging.url` with exactly `staging.headers`, then send the manifest. The same body again gets "
            "the same session (200), unless that session failed or was cancelled. A recording has one open "
            "session.",
            status=201,
            also=(200,),
            errors=(Conflict,),
            replay=lambda call, stored: sessions.replayed(call.actor, call.id, stored),
            audit="encrypted_upload.started",
        ),
        _ROUTES.get(_ONE, "get_encrypted_upload_session", EncryptedUploadSession).plain(
            "Get an encrypted upload",
            lambda call: sessions.read(call.actor, call.id, call.params["upload_session_id"]),
            "`published_at`, `plaintext_length` and the completion receipt are there once the session is "
            "`published`; `error` is there if it `failed`.",
        ),
        _ROUTES.post(f"{_ONE}/staging-url", "create_encrypted_staging_url", Staging, OwnedRevision).plain(
            "Ask where to stage the encrypted object",
            lambda call: sessions.staging_url(
                call.actor, call.id, call.params["upload_session_id"], call.body
            ),
            "A fresh URL each time, while the session is `staging`. The signature covers the length and the "
            "SHA-256 of the object.",
            errors=(Conflict,),
            bucket=UPLOAD_URLS,
            unaudited="It signs a link, and writes nothing.",
        ),
        _ROUTES.post(
            f"{_ONE}/manifest", "send_encrypted_upload_manifest", AcceptedManifest, SendManifest
        ).plain(
            "Send the manifest of an encrypted upload",
            lambda call: sessions.accept(call.actor, call.id, call.params["upload_session_id"], call.body),
            "202: the server publishes the recording without further requests. The same manifest is accepted "
            "for ever, with 200 once the session is `published`. `encrypted_upload_v2_staging_missing`: PUT "
            "the object, then send the same manifest again.",
            status=202,
            also=(200,),
            errors=(Conflict, StagingMissing, IntegrityFailure),
            natural=True,
            audit="encrypted_upload.accepted",
        ),
        _ROUTES.post(
            f"{_ONE}/recover", "recover_encrypted_upload", EncryptedUploadSession, RecoverSession
        ).plain(
            "Recover an encrypted upload",
            lambda call: created(
                sessions.recover(call.actor, call.id, call.params["upload_session_id"], call.body)
            ),
            "For a session that expired, or a device whose nonce changed. A new session with a greater "
            "`owner_revision` takes the place of this one, which is `cancelled`. The same request gets the "
            "same session (200).",
            status=201,
            also=(200,),
            errors=(Conflict,),
            natural=True,
            audit="encrypted_upload.recovered",
        ),
        _ROUTES.delete(_ONE, "cancel_encrypted_upload", body=OwnedRevision).plain(
            "Cancel an encrypted upload",
            lambda call: sessions.cancel(call.actor, call.id, call.params["upload_session_id"], call.body),
            "A repeat is 204. A session whose manifest was accepted cannot be cancelled.",
            errors=(Conflict,),
            natural=True,
            audit="encrypted_upload.cancelled",
        ),
    )
