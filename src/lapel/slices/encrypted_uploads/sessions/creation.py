"""Create a session, or answer the one that the same request created before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Conflict, InvalidRequest, NotFound
from lapel.foundation.database import audit
from lapel.parsers import format_size
from lapel.slices.devices.service import lock_device
from lapel.slices.encrypted_uploads.documents.failures import Refused
from lapel.slices.encrypted_uploads.documents.stored_object.frame import extent_of_ciphertext
from lapel.slices.encrypted_uploads.sessions import session_queries
from lapel.slices.encrypted_uploads.sessions.issuance import UploadFacts
from lapel.slices.encrypted_uploads.sessions.rules import (
    NONCE_BYTES,
    check_uploadable,
    checked_capabilities,
    find_session,
)
from lapel.slices.encrypted_uploads.sessions.views import decoded
from lapel.slices.end_users.service import lock_active_end_user
from lapel.slices.recordings.service import find_identity, give_identity, largest

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.devices.service import DeviceSummary
    from lapel.slices.encrypted_uploads.sessions.issuance import SessionIssuer
    from lapel.slices.encrypted_uploads.sessions.rows import UploadSessionRow
    from lapel.slices.encrypted_uploads.wire import CreateEncryptedUploadSession
    from lapel.slices.recordings.service import IdentityRow


class Creation:
    """Creates sessions."""

    def __init__(self, ports: Ports, issuer: SessionIssuer) -> None:
        self._ports = ports
        self._issuer = issuer

    async def create(
        self, connection: Connection, actor: Actor, recording_id: str, body: CreateEncryptedUploadSession
    ) -> tuple[UploadSessionRow, bool]:
        """The session of this request, and whether it is new.

        Raises:

        - InvalidRequest for documents that are malformed, and for a length that no object has or may have.
        - NotFound when the caller reaches no such recording, device or end user.
        - Conflict when these do not belong together, when the recording has another open session or is
          uploaded, or when the device gave its name to another recording.
        """
        capabilities, _ = checked_capabilities(body.capabilities_base64)
        nonce = decoded(body.auth_nonce_base64, NONCE_BYTES, "auth_nonce_base64")
        self._check_length(body.ciphertext_length)
        found = await find_identity(connection, actor, recording_id, lock=False)
        await lock_active_end_user(connection, actor.world_id, found.end_user_id)
        await _check_end_user(connection, actor, found.end_user_id, body.end_user_id)
        device = await _bound_device(connection, actor, found, body)
        recording = await find_identity(connection, actor, recording_id, lock=True)
        facts = UploadFacts(
            recording_id=recording_id,
            device_id=body.device_id,
            end_user_id=recording.end_user_id,
            serial_number=device.serial_number,
            binding_generation=body.binding_generation,
            recording_uuid=body.recording_uuid,
            recording_generation=body.recording_generation,
            channel=body.channel,
            capabilities=capabilities,
            auth_nonce=nonce,
            ciphertext_length=body.ciphertext_length,
            ciphertext_sha256=body.ciphertext_sha256,
        )
        crash_point("encrypted-session:locked")
        now = self._ports.clock.now()
        before = await session_queries.lock_of_recording(connection, actor.world_id, recording_id)
        for row in before:
            if _created_by(row, facts):
                return row, False
        await self._end_others(connection, actor.world_id, before, now)
        check_uploadable(recording)
        await _name(connection, actor.world_id, recording, facts, now)
        session_id = await self._issuer.issue(connection, actor, facts)
        await audit.note(
            connection,
            self._ports.ids,
            now,
            actor,
            "encrypted_upload.started",
            session_id,
            recording.end_user_id,
        )
        crash_point("encrypted-session:before-commit")
        return await find_session(connection, actor, recording_id, session_id), True

    def _check_length(self, ciphertext_length: int) -> None:
        limit = largest(self._ports.settings, "audio")
        try:
            length = extent_of_ciphertext(ciphertext_length).plaintext_length
        except Refused as refused:
            raise InvalidRequest(str(refused), param="ciphertext_length", reason=refused.reason) from None
        if length > limit:
            said = f"is too large: the audio of a recording may have at most {format_size(limit)}"
            raise InvalidRequest(f"`ciphertext_length` {said}.", param="ciphertext_length", reason=said)

    async def _end_others(
        self, connection: Connection, world_id: int, rows: list[UploadSessionRow], now: datetime
    ) -> None:
        """Cancel a session that expired or is of an earlier binding. Raises Conflict while one is open."""
        for row in rows:
            if row.is_open(now):
                raise Conflict("This recording has an open upload session of another request.")
            if row.state == "staging":
                await session_queries.cancel(connection, world_id, row.id, now)


async def _check_end_user(connection: Connection, actor: Actor, owner: str, given: str | None) -> None:
    """Raises NotFound for an end user that the caller does not reach, and Conflict if it is not the owner."""
    if given is None or given == owner:
        return
    if actor.end_user_id is not None:
        raise NotFound("There is no end user with this `end_user_id`.", param="end_user_id")
    await lock_active_end_user(connection, actor.world_id, given)
    raise Conflict("The recording belongs to another end user.", param="end_user_id")


async def _bound_device(
    connection: Connection, actor: Actor, recording: IdentityRow, body: CreateEncryptedUploadSession
) -> DeviceSummary:
    """The recording's device, which stays bound as the request says until the transaction ends.

    Raises NotFound for a device that the caller does not reach, and Conflict for another device or binding.
    """
    device = await lock_device(connection, actor.world_id, body.device_id)
    if device is None or actor.end_user_id not in (None, device.end_user_id):
        raise NotFound("There is no device with this `device_id`.", param="device_id")
    if body.device_id != recording.device_id:
        raise Conflict("The recording is not one of this device.", param="device_id")
    if device.end_user_id != recording.end_user_id:
        raise Conflict("The device is not bound to the recording's end user.", param="device_id")
    if device.binding_generation != body.binding_generation:
        raise Conflict(
            f"The device has binding_generation {device.binding_generation}, not {body.binding_generation}.",
            param="binding_generation",
        )
    return device


def _created_by(row: UploadSessionRow, facts: UploadFacts) -> bool:
    """Whether a session was created by a request with these facts."""
    return all(
        getattr(row, name) == getattr(facts, name)
        for name in (
            "device_id", "end_user_id", "binding_generation", "recording_uuid", "recording_generation",
            "channel", "capabilities", "auth_nonce", "ciphertext_length", "ciphertext_sha256",
        )
    )  # fmt: skip


async def _name(
    connection: Connection, world_id: int, recording: IdentityRow, facts: UploadFacts, now: datetime
) -> None:
    """Name a recording that has no name. Raises Conflict when it has another one."""
    if recording.recording_uuid is None:
        await give_identity(
            connection, world_id, facts.recording_id, facts.recording_uuid, facts.recording_generation, now
        )
    elif (recording.recording_uuid, recording.recording_generation) != (
        facts.recording_uuid,
        facts.recording_generation,
    ):
        raise Conflict("The recording has another `recording_uuid` or `recording_generation`.")
