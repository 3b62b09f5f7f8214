"""Recover a session: a new one takes its place, with a fresh nonce of the device and a greater revision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Conflict, InvalidRequest
from lapel.foundation.database import audit
from lapel.slices.devices.service import lock_device
from lapel.slices.encrypted_uploads.documents.capabilities import CONTEXTS
from lapel.slices.encrypted_uploads.sessions import session_queries
from lapel.slices.encrypted_uploads.sessions.issuance import Recovered, UploadFacts
from lapel.slices.encrypted_uploads.sessions.rules import (
    NONCE_BYTES,
    check_owner,
    check_uploadable,
    checked_capabilities,
    find_session,
    unknown_session,
)
from lapel.slices.encrypted_uploads.sessions.views import decoded
from lapel.slices.end_users.service import lock_active_end_user
from lapel.slices.recordings.service import find_identity

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.encrypted_uploads.sessions.issuance import SessionIssuer
    from lapel.slices.encrypted_uploads.sessions.rows import UploadSessionRow
    from lapel.slices.encrypted_uploads.wire import RecoverSession


class SessionRecovery:
    """Replaces sessions."""

    def __init__(self, ports: Ports, issuer: SessionIssuer) -> None:
        self._ports = ports
        self._issuer = issuer

    async def recover(
        self, actor: Actor, recording_id: str, session_id: str, body: RecoverSession
    ) -> tuple[UploadSessionRow, bool]:
        """The session that replaces this one, and whether it is new; the same request gets the same one.

        Raises InvalidRequest for documents that are malformed or of a device that cannot recover, NotFound
        when the caller reaches no such session, and Conflict when it cannot be replaced or was replaced by
        another request.
        """
        capabilities, found = checked_capabilities(body.capabilities_base64)
        if not found.recovery or not found.flags & CONTEXTS:
            raise InvalidRequest(
                "A device with these capabilities cannot continue with a recovered session.",
                param="capabilities_base64",
                reason="mixed_profile",
            )
        nonce = decoded(body.auth_nonce_base64, NONCE_BYTES, "auth_nonce_base64")
        async with self._ports.database.transaction() as connection:
            row, serial_number = await self._lock(connection, actor, recording_id, session_id, body)
            successor = await session_queries.read_successor(connection, actor.world_id, row.id)
            if successor is not None:
                if (successor.auth_nonce, successor.capabilities) != (nonce, capabilities):
                    raise Conflict(
                        "This session was recovered by another request: use the session that replaced it."
                    )
                return successor, False
            if row.state != "staging":
                raise Conflict(f"The session is {row.state} and cannot be recovered.")
            now = self._ports.clock.now()
            await session_queries.cancel(connection, actor.world_id, row.id, now)
            crash_point("encrypted-recover:cancelled")
            facts = UploadFacts(
                recording_id=row.recording_id,
                device_id=row.device_id,
                end_user_id=row.end_user_id,
                serial_number=serial_number,
                binding_generation=row.binding_generation,
                recording_uuid=row.recording_uuid,
                recording_generation=row.recording_generation,
                channel=row.channel,
                capabilities=capabilities,
                auth_nonce=nonce,
                ciphertext_length=row.ciphertext_length,
                ciphertext_sha256=row.ciphertext_sha256,
            )
            new_id = await self._issuer.issue(connection, actor, facts, Recovered(row.id, row.owner_revision))
            await audit.note(
                connection, self._ports.ids, now, actor, "encrypted_upload.recovered", new_id, row.end_user_id
            )
            made = await find_session(connection, actor, recording_id, new_id)
            crash_point("encrypted-recover:before-commit")
        crash_point("encrypted-recover:committed")
        return made, True

    async def _lock(
        self,
        connection: Connection,
        actor: Actor,
        recording_id: str,
        session_id: str,
        body: RecoverSession,
    ) -> tuple[UploadSessionRow, str]:
        """The session and its device's serial number. Locks end user, device, recording and session."""
        seen = await find_session(connection, actor, recording_id, session_id)
        await lock_active_end_user(connection, actor.world_id, seen.end_user_id)
        device = await lock_device(connection, actor.world_id, seen.device_id)
        recording = await find_identity(connection, actor, recording_id, lock=True)
        row = await find_session(connection, actor, recording_id, session_id, lock=True)
        check_owner(row, body.owner_revision)
        if row.state == "staging":
            check_uploadable(recording)
        if device is None:  # `check_owner` raises for a session whose device is gone
            raise unknown_session()
        return row, device.serial_number
