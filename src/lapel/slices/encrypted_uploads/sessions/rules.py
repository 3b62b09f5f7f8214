"""The rules that several routes of sessions share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict, InvalidRequest, NotFound
from lapel.slices.encrypted_uploads.documents import capabilities
from lapel.slices.encrypted_uploads.documents.failures import Refused
from lapel.slices.encrypted_uploads.sessions import session_queries
from lapel.slices.encrypted_uploads.sessions.views import decoded

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.slices.encrypted_uploads.documents.capabilities import Capabilities
    from lapel.slices.encrypted_uploads.sessions.rows import UploadSessionRow
    from lapel.slices.recordings.service import IdentityRow

NONCE_BYTES = 16


def unknown_session() -> NotFound:
    """The error for a session that the caller may not see, that does not exist or whose recording is gone."""
    return NotFound("This recording has no upload session with this id.")


async def find_session(
    connection: Connection, actor: Actor, recording_id: str, session_id: str, *, lock: bool = False
) -> UploadSessionRow:
    """A session of a recording. `lock`: lock it; the caller has locked the recording before.

    Raises NotFound when the caller reaches no such session.
    """
    row = await session_queries.read(
        connection, actor.world_id, recording_id, session_id, actor.end_user_id, lock=lock
    )
    if row is None:
        raise unknown_session()
    return row


def check_owner(row: UploadSessionRow, owner_revision: int) -> None:
    """Raises Conflict when the device's binding has changed, or the client holds another revision."""
    check_binding(row)
    if owner_revision != row.owner_revision:
        raise Conflict(f"The session has owner_revision {row.owner_revision}, not {owner_revision}.")


def check_binding(row: UploadSessionRow) -> None:
    """Raises Conflict when the device's binding has changed since the session was created."""
    if not row.still_bound:
        raise Conflict(
            "The device is not bound any more as it was when this session was created. The session can only "
            "be read."
        )


def check_uploadable(recording: IdentityRow) -> None:
    """Raises Conflict when a recording takes no audio any more."""
    if recording.status == "uploaded" or recording.audio_erased_at is not None:
        raise Conflict("The audio of this recording is uploaded and cannot change.")


def checked_capabilities(text: str) -> tuple[bytes, Capabilities]:
    """The capabilities of a device that can seal recordings, as bytes and as fields.

    Raises InvalidRequest, whose reason is the contract's word.
    """
    param = "capabilities_base64"
    data = decoded(text, capabilities.LENGTH, param)
    try:
        found = capabilities.parse(data)
    except Refused as refused:
        raise InvalidRequest(str(refused), param=param, reason=refused.reason) from None
    if not found.batch:
        raise InvalidRequest(
            "A device with these capabilities cannot upload encrypted recordings.",
            param=param,
            reason="mixed_profile",
        )
    return data, found
