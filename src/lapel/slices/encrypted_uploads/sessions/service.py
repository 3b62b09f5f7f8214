"""The operations on the sessions of encrypted uploads."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Conflict
from lapel.foundation.database import audit
from lapel.slices.encrypted_uploads.sessions import session_queries
from lapel.slices.encrypted_uploads.sessions.creation import Creation
from lapel.slices.encrypted_uploads.sessions.issuance import SessionIssuer
from lapel.slices.encrypted_uploads.sessions.manifests import Manifests
from lapel.slices.encrypted_uploads.sessions.recovery import SessionRecovery
from lapel.slices.encrypted_uploads.sessions.rules import check_binding, check_owner, find_session
from lapel.slices.encrypted_uploads.sessions.views import session_of, shown_state
from lapel.slices.encrypted_uploads.wire import Staging
from lapel.slices.recordings.service import URL_SECONDS, find_identity

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.calls import Reply
    from lapel.foundation.ports import Ports
    from lapel.slices.encrypted_uploads.policies.upload_policies import UploadPolicies
    from lapel.slices.encrypted_uploads.sessions.rows import UploadSessionRow
    from lapel.slices.encrypted_uploads.signing.signing_keys import SigningKeys
    from lapel.slices.encrypted_uploads.wire import (
        AcceptedManifest,
        CreateEncryptedUploadSession,
        EncryptedUploadSession,
        OwnedRevision,
        RecoverSession,
        SendManifest,
    )

# The store checks the bytes that are PUT, so nothing else needs to know their type.
CONTENT_TYPE = "application/octet-stream"


class UploadSessions:
    """Operations on sessions. Methods that open a connection raise Unavailable while the database fails."""

    def __init__(self, ports: Ports, keys: SigningKeys, policies: UploadPolicies) -> None:
        self._ports = ports
        issuer = SessionIssuer(ports, keys, policies)
        self._creation = Creation(ports, issuer)
        self._recovery = SessionRecovery(ports, issuer)
        self._manifests = Manifests(ports)

    async def create(
        self, connection: Connection, actor: Actor, recording_id: str, body: CreateEncryptedUploadSession
    ) -> tuple[EncryptedUploadSession, bool]:
        """The session of this request, and whether it is new. Raises as `Creation.create`."""
        row, is_new = await self._creation.create(connection, actor, recording_id, body)
        return self._with_staging(actor, row), is_new

    async def replayed(
        self, actor: Actor, recording_id: str, stored: EncryptedUploadSession
    ) -> EncryptedUploadSession:
        """The session of a stored answer as it is now, with a fresh URL.

        Raises NotFound when the recording is deleted, and Conflict when the device's binding has changed.
        """
        async with self._ports.database.acquire() as connection:
            row = await find_session(connection, actor, recording_id, stored.session_id)
        check_binding(row)
        return self._with_staging(actor, row)

    async def read(self, actor: Actor, recording_id: str, session_id: str) -> EncryptedUploadSession:
        """A session in its present state. Raises NotFound when the caller reaches no such session."""
        async with self._ports.database.acquire() as connection:
            row = await find_session(connection, actor, recording_id, session_id)
        return session_of(row, actor.project_id, self._ports.clock.now())

    async def staging_url(
        self, actor: Actor, recording_id: str, session_id: str, body: OwnedRevision
    ) -> Staging:
        """A fresh URL for the object of a session that is `staging`.

        Raises NotFound when the caller reaches no such session, Conflict when it is in another state, is
        another revision or is of an earlier binding, and StoreUnavailable without credentials to sign with.
        """
        async with self._ports.database.acquire() as connection:
            row = await find_session(connection, actor, recording_id, session_id)
        check_owner(row, body.owner_revision)
        now = self._ports.clock.now()
        state = shown_state(row, now)
        if state != "staging":
            raise Conflict(f"The session is {state}: it takes no object.")
        return self._staging(row, now)

    async def accept(
        self, actor: Actor, recording_id: str, session_id: str, body: SendManifest
    ) -> Reply[AcceptedManifest]:
        """Accept the manifest of a staged object. Raises as `Manifests.accept`."""
        return await self._manifests.accept(actor, recording_id, session_id, body)

    async def recover(
        self, actor: Actor, recording_id: str, session_id: str, body: RecoverSession
    ) -> tuple[EncryptedUploadSession, bool]:
        """The session that replaces this one, and whether it is new. Raises as `SessionRecovery.recover`."""
        row, is_new = await self._recovery.recover(actor, recording_id, session_id, body)
        return self._with_staging(actor, row), is_new

    async def cancel(self, actor: Actor, recording_id: str, session_id: str, body: OwnedRevision) -> None:
        """Cancel a session. No effect if it is cancelled.

        Raises NotFound when the caller reaches no such session, and Conflict when its manifest was accepted,
        when it has another revision, or when it is of an earlier binding.
        """
        async with self._ports.database.transaction() as connection:
            await find_identity(connection, actor, recording_id, lock=True)
            row = await find_session(connection, actor, recording_id, session_id, lock=True)
            check_owner(row, body.owner_revision)
            if row.manifest is not None:
                raise Conflict("The manifest of this session is accepted: the session cannot be cancelled.")
            if row.state == "cancelled":
                return
            now = self._ports.clock.now()
            await session_queries.cancel(connection, actor.world_id, row.id, now)
            await audit.note(
                connection, self._ports.ids, now, actor, "encrypted_upload.cancelled", row.id, row.end_user_id
            )
            crash_point("encrypted-cancel:before-commit")
        crash_point("encrypted-cancel:committed")

    def _with_staging(self, actor: Actor, row: UploadSessionRow) -> EncryptedUploadSession:
        now = self._ports.clock.now()
        staging = self._staging(row, now) if shown_state(row, now) == "staging" else None
        return session_of(row, actor.project_id, now, staging)

    def _staging(self, row: UploadSessionRow, now: datetime) -> Staging:
        """A fresh URL, which never outlives the session. Raises StoreUnavailable."""
        left = int((row.expires_at - now).total_seconds())
        link = self._ports.links.put(
            row.staging_key,
            now=now,
            expires_in=min(URL_SECONDS, max(1, left)),
            content_type=CONTENT_TYPE,
            content_length=row.ciphertext_length,
            sha256=row.ciphertext_sha256,
            marker=secrets.token_hex(8),
        )
        return Staging(url=link.url, headers=link.headers)
