"""The rows of sessions, as the routes read them."""

from __future__ import annotations

from datetime import datetime

import msgspec

from lapel.slices.encrypted_uploads.documents.profiles import PolicyName
from lapel.slices.encrypted_uploads.wire import Channel, StoredState


class SealedRecipientRow(msgspec.Struct, frozen=True):
    """The sealed X25519 key of a session."""

    world_id: int
    id: str
    sealed_recipient_key: bytes


class UploadSessionRow(msgspec.Struct, frozen=True):
    """A session. `still_bound`: its device is bound to its end user, in the binding of its creation."""

    id: str
    recording_id: str
    device_id: str
    end_user_id: str
    owner_revision: int
    state: StoredState
    channel: Channel
    policy: PolicyName
    binding_generation: int
    recording_uuid: str
    recording_generation: int
    capabilities: bytes
    auth_nonce: bytes
    ciphertext_length: int
    ciphertext_sha256: str
    staging_key: str
    upload_authorization: bytes
    sealed_recipient_key: bytes | None
    manifest: bytes | None
    plaintext_length: int | None
    receipt: bytes | None
    published_at: datetime | None
    failure_code: str | None
    failure_message: str | None
    expires_at: datetime
    still_bound: bool

    def is_expired(self, now: datetime) -> bool:
        """Whether the session takes no manifest any more, because its time is over.

        Its time is also over when its private key is deleted. That shows only after a clock was set back, or
        if the worker's clock is ahead.
        """
        return self.state == "staging" and (now >= self.expires_at or self.sealed_recipient_key is None)

    def is_open(self, now: datetime) -> bool:
        """Whether the session still leads to a recording without a further `recover`."""
        if self.state == "staging":
            return self.still_bound and not self.is_expired(now)
        return self.state in ("ready", "processing")
