"""Sessions of encrypted uploads for the operations on them, and the bodies of these operations."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from tests.support.sealed_uploads import Phone, creation, manifest_body, recovery_body, seal

if TYPE_CHECKING:
    from tests.contract.resources import Resources

Json = dict[str, Any]
# Each state has a recording of its own. `sealed_new` has no session, `sealed` has one that is left as it is,
# and the others end in the operation that needs them.
OBJECTS = {
    state: seal(b"OggS", recording_uuid=uuid.UUID(int=at + 1))
    for at, state in enumerate(("sealed_new", "sealed", "sealed_sent", "sealed_lost", "sealed_ended"))
}
# Documents, and facts of objects: only few of those that a schema allows are right.
DOCUMENTS = ("capabilities_base64", "manifest_base64", "manifest_sha256", "ciphertext_length")
STATES = {
    "create_encrypted_upload_session": "sealed_new",
    "get_encrypted_upload_session": "sealed",
    "create_encrypted_staging_url": "sealed",
    "send_encrypted_upload_manifest": "sealed_sent",
    "recover_encrypted_upload": "sealed_lost",
    "cancel_encrypted_upload": "sealed_ended",
}


async def begin(phone: Phone, recordings: dict[str, str]) -> tuple[dict[str, str], str]:
    """Begin the uploads of the recordings, given by state: the ids of their sessions, and a manifest."""
    sessions: dict[str, str] = {}
    document = ""
    for state, sealed in OBJECTS.items():
        if state == "sealed_new":
            continue
        session = await phone.create(recordings[state], sealed)
        sessions[state] = session["session_id"]
        if state == "sealed_sent":
            assert (await phone.put(session["staging"], sealed.content)).status_code == 200
            document = sealed.manifest(session).hex()
    return sessions, document


def body_of(operation: str, resources: Resources) -> Json | None:
    """The body of an operation on these sessions; None for any other operation."""
    match operation:
        case "create_encrypted_upload_session":
            return creation(OBJECTS["sealed_new"], resources.device.id)
        case "create_encrypted_staging_url" | "cancel_encrypted_upload":
            return {"owner_revision": 1}
        case "recover_encrypted_upload":
            return recovery_body({"owner_revision": 1}, bytes(16))
        case "send_encrypted_upload_manifest":
            return manifest_body({"owner_revision": 1}, bytes.fromhex(resources.manifest))
        case _:
            return None
