"""The contract's structs of encrypted upload sessions."""

from __future__ import annotations

import base64
from typing import Annotated, Literal, TypeAlias

import msgspec

from lapel.foundation.http.input.fields import Sha256, Timestamp
from lapel.slices.encrypted_uploads.documents import manifest
from lapel.slices.encrypted_uploads.documents.profiles import PolicyName

Channel = Literal["ble", "wifi", "cellular"]
# What the table stores; a session that is `staging` shows as `expired` from its `expires_at` on.
StoredState = Literal["staging", "ready", "processing", "published", "failed", "cancelled"]
ShownState = Literal["staging", "ready", "processing", "published", "failed", "cancelled", "expired"]
AcceptedState = Literal["ready", "processing", "published"]

# What the bytes of a recording are called that a device encrypted for this profile.
StorageFormat = Literal["bota_enc_v2"]

_BASE64 = "[A-Za-z0-9+/]"
LowerUuid: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z",
        examples=["2f1c8a52-9f4e-4f0a-8a38-0d5f0a3b7c11"],
        description="In lower case.",
    ),
]
Uint32: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1, examples=[1])]
Generation: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1, examples=[1])]
OwnerRevision: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1, examples=[1])]
# Documents are decoded by `sessions/views.py`, whose errors say what is wrong with their bytes.
Capabilities: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        description="24 bytes, in canonical base64.",
        examples=["AQIYAH8DAAAABAAE9AAQAAgAAAAQAAAA"],
        extra_json_schema={"pattern": f"^{_BASE64}{{32}}$"},
    ),
]
Nonce: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        description="16 bytes, in canonical base64.",
        examples=["AAECAwQFBgcICQoLDA0ODw=="],
        extra_json_schema={"pattern": f"^{_BASE64}{{21}}[AQgw]==$"},
    ),
]
Manifest: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        description="580 bytes, in canonical base64.",
        examples=[base64.b64encode(manifest.LAYOUT.magic.ljust(manifest.LENGTH, b"\0")).decode()],
        extra_json_schema={"pattern": f"^{_BASE64}{{773}}[AQgw]==$"},
    ),
]


Hash: TypeAlias = Annotated[Sha256, msgspec.Meta(examples=["ab" * 32])]


class Staging(msgspec.Struct, frozen=True, kw_only=True):
    """Where the encrypted object is PUT, with exactly these headers."""

    method: Literal["PUT"] = "PUT"
    url: str
    headers: dict[str, str]


class SessionFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Why an accepted upload could not be published."""

    code: str
    message: str


class EncryptedUploadSession(msgspec.Struct, frozen=True, kw_only=True):
    """One upload of one encrypted object. The fields of publication are there once it is `published`."""

    profile: Literal["encrypted_upload_v2"] = "encrypted_upload_v2"
    session_id: LowerUuid
    owner_revision: OwnerRevision
    state: ShownState
    channel: Channel
    policy: PolicyName
    recording_id: str
    device_id: str
    end_user_id: str
    project_id: str
    ciphertext_length: int
    ciphertext_sha256: Sha256
    authorization_base64: str
    authorization_sha256: Sha256
    expires_at: Timestamp
    published_at: Timestamp | msgspec.UnsetType = msgspec.UNSET
    plaintext_length: int | msgspec.UnsetType = msgspec.UNSET
    completion_receipt_base64: str | msgspec.UnsetType = msgspec.UNSET
    completion_receipt_sha256: Sha256 | msgspec.UnsetType = msgspec.UNSET
    error: SessionFailure | msgspec.UnsetType = msgspec.UNSET
    staging: Staging | msgspec.UnsetType = msgspec.UNSET


class AcceptedManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest is accepted: the server publishes the recording without further requests."""

    session_id: LowerUuid
    owner_revision: OwnerRevision
    state: AcceptedState


class CreateEncryptedUploadSession(msgspec.Struct, frozen=True, kw_only=True):
    """An encrypted object to upload. `ciphertext_length` is its size in bytes."""

    device_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    end_user_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    binding_generation: Uint32
    recording_uuid: LowerUuid
    recording_generation: Generation
    storage_format: StorageFormat
    channel: Channel
    capabilities_base64: Capabilities
    auth_nonce_base64: Nonce
    ciphertext_length: Annotated[int, msgspec.Meta(ge=293, le=2**53 - 1, examples=[1316])]
    ciphertext_sha256: Hash


class OwnedRevision(msgspec.Struct, frozen=True, kw_only=True):
    """The revision of the session that the client holds."""

    owner_revision: OwnerRevision


class SendManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest of the staged object. `manifest_sha256` is that of its 580 bytes."""

    owner_revision: OwnerRevision
    manifest_base64: Manifest
    manifest_sha256: Hash


class RecoverSession(msgspec.Struct, frozen=True, kw_only=True):
    """A fresh nonce of the device. `reason` is left out when the session has expired."""

    owner_revision: OwnerRevision
    auth_nonce_base64: Nonce
    capabilities_base64: Capabilities
    reason: Literal["nonce_changed"] | None = None
