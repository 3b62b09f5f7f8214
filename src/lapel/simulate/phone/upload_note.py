"""What the app writes down about one upload, so that it continues after a crash."""

from __future__ import annotations

from typing import Literal

import msgspec


class UploadNote(msgspec.Struct, kw_only=True):
    """The app's note about one sealed recording. Empty texts and bytes: not yet.

    unknown: the creation whose call began and whose outcome is not noted. nonce: of the device, in the last
    call that asked for an authorization. binding_generation: in the call that created the session.
    recovering: a recovery began, and its answer is not noted; `has_expired` is its cause, else the device's
    nonce has changed. cancelling: a cancellation began. manifest: what the device exported for this session.
    No key and no plain text is here.
    """

    started_at: str
    ended_at: str
    channel: Literal["ble", "wifi"]
    ciphertext_length: int
    ciphertext_sha256: bytes
    plaintext_length: int
    unknown: Literal["", "recording", "session"] = ""
    recording_id: str = ""
    nonce: bytes = b""
    session_id: str = ""
    binding_generation: int = 0
    owner_revision: int = 0
    recovering: bool = False
    has_expired: bool = False
    cancelling: bool = False
    manifest: bytes = b""
    is_accepted: bool = False


class UploadNotes:
    """The notes of one phone, as bytes: a note that was changed counts only when it is saved."""

    def __init__(self) -> None:
        self._saved: dict[int, bytes] = {}

    def save(self, number: int, note: UploadNote) -> None:
        """Replaces the note about this recording."""
        self._saved[number] = msgspec.msgpack.encode(note)

    def load(self, number: int) -> UploadNote:
        """The note about this recording as it was saved last."""
        return msgspec.msgpack.decode(self._saved[number], type=UploadNote)

    def forget(self, number: int) -> None:
        """The upload has ended."""
        del self._saved[number]
