"""The manifest of an upload: 580 bytes of a device about its stored object, with the data key for the server.

The server checks a manifest in three steps: `parse`, `check`, `open_key`.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal
from uuid import UUID

import msgspec

from lapel.slices.encrypted_uploads.documents import digests, hpke, upload_authorization
from lapel.slices.encrypted_uploads.documents.failures import Reason, Refused
from lapel.slices.encrypted_uploads.documents.layouts import (
    AEAD,
    BLOCK_SIZE,
    KDF,
    KEM,
    PROFILE,
    RECIPIENT_KEY_VERSION,
    STORAGE_FORMAT,
    SUITE,
    VERSION,
    Bytes32,
    Layout,
    Policy,
    Uint32,
    Uint64,
)
from lapel.slices.encrypted_uploads.documents.stored_object.frame import (
    BATCH,
    SealedObject,
    StoredHeader,
    encode_header,
    extent_of_ciphertext,
)

LENGTH = 580
DATA_KEY_LENGTH = 32
SEALED_LENGTH = 112  # data key, two digests, and the tag of 16 bytes

COMPLETE_BATCH, COMPLETE_STREAM = 3, 5  # the two values of flags: 1 complete, 2 batch, 4 stream
# Channel of a manifest to its bit in the channel mask of an authorization.
CHANNEL_BITS = {1: upload_authorization.BLE, 2: upload_authorization.WIFI, 3: upload_authorization.CELLULAR}

# The info of the envelope.
INFO = digests.domain("hpke-key-export") + VERSION.to_bytes(2, "little") + SUITE.to_bytes(2, "little")

LAYOUT = Layout(
    b"BOTAMNF2",
    LENGTH,
    (
        (12, "B", "profile"),
        (13, "B", "storage_format"),
        (14, "B", "policy"),
        (15, "B", "channel"),
        (16, "H", SUITE),
        (18, "H", KEM),
        (20, "H", KDF),
        (22, "H", AEAD),
        (24, "H", 1),  # authentication suite
        (26, "H", RECIPIENT_KEY_VERSION),
        (28, "I", "owner_revision"),
        (32, "I", "binding_generation"),
        (36, "I", "recording_generation"),
        (40, "I", "block_size"),
        (44, "I", "block_count"),
        (48, "I", "flags"),
        (52, "uuid", "session_uuid"),
        (68, "uuid", "recipient_key_uuid"),
        (84, "uuid", "recording_uuid"),
        (100, "32s", "tenant"),
        (132, "32s", "device"),
        (164, "32s", "configuration"),
        (196, "32s", "staging"),
        (228, "32s", "authorization_sha256"),
        (260, "Q", "ciphertext_length"),
        (268, "Q", "plaintext_length"),
        (276, "32s", "ciphertext_sha256"),
        (308, "32s", "plaintext_sha256"),
        (340, "32s", "header_sha256"),
        (372, "32s", "trailer_sha256"),
        (404, "32s", "encapsulated_key"),
        (436, "112s", "sealed_key"),
        (548, "32s", "tag"),
    ),
)


class UploadManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a manifest. Lengths are bytes."""

    profile: Literal[3] = PROFILE
    storage_format: Literal[3] = STORAGE_FORMAT
    policy: Policy
    channel: Literal[1, 2, 3]  # BLE, Wi-Fi, cellular
    owner_revision: Uint32
    binding_generation: Uint32
    recording_generation: Uint32
    block_size: Literal[4096] = BLOCK_SIZE
    block_count: Uint32
    flags: Literal[3, 5]
    session_uuid: UUID
    recipient_key_uuid: UUID
    recording_uuid: UUID
    tenant: Bytes32
    device: Bytes32
    configuration: Bytes32
    staging: Bytes32
    authorization_sha256: Bytes32
    ciphertext_length: Uint64
    plaintext_length: Uint64
    ciphertext_sha256: Bytes32
    plaintext_sha256: Bytes32
    header_sha256: Bytes32
    trailer_sha256: Bytes32
    encapsulated_key: Bytes32 = bytes(32)
    sealed_key: bytes = bytes(SEALED_LENGTH)
    tag: Bytes32 = bytes(32)

    @property
    def storage_identity(self) -> bytes:
        """The 32-byte digest of the stored object that this manifest describes."""
        return digests.storage_identity(
            self.recording_uuid,
            self.recording_generation,
            header_sha256=self.header_sha256,
            trailer_sha256=self.trailer_sha256,
            ciphertext_length=self.ciphertext_length,
            ciphertext_sha256=self.ciphertext_sha256,
            plaintext_length=self.plaintext_length,
            plaintext_sha256=self.plaintext_sha256,
        )


def parse(data: bytes) -> UploadManifest:
    """The fields; nothing is compared and nothing is opened. Raises Refused: `invalid_magic`,
    `unsupported_version`, `invalid_length`, `noncanonical_encoding`."""
    found = LAYOUT.parse(data, UploadManifest)
    extent = extent_of_ciphertext(found.ciphertext_length)
    if (found.block_count, found.plaintext_length) != (extent.block_count, extent.plaintext_length):
        raise Refused("invalid_length", "The lengths of the manifest do not belong together.")
    return found


def check(manifest: UploadManifest, authorization: bytes) -> None:
    """Compares a manifest with the authorization of 408 bytes that the server issued for the session.

    Raises Refused for the first difference: `session_mismatch` (session and owner revision),
    `binding_generation_mismatch`, `recording_identity_mismatch`, else `identity_mismatch`.
    """
    issued = upload_authorization.parse(authorization)
    for name, reason in _REPEATED.items():
        if getattr(manifest, name) != getattr(issued, name):
            raise _different(name, reason)
    if hashlib.sha256(authorization).digest() != manifest.authorization_sha256:
        raise _different("authorization_sha256")
    if not issued.channel_mask & CHANNEL_BITS[manifest.channel]:
        raise _different("channel")


# What a manifest repeats of its authorization, in the order of comparison, and what a difference is called.
_REPEATED: dict[str, Reason] = {
    "session_uuid": "session_mismatch",
    "owner_revision": "session_mismatch",
    "binding_generation": "binding_generation_mismatch",
    "recording_uuid": "recording_identity_mismatch",
    "recording_generation": "recording_identity_mismatch",
    "recipient_key_uuid": "identity_mismatch",
    "policy": "identity_mismatch",
    "tenant": "identity_mismatch",
    "device": "identity_mismatch",
    "configuration": "identity_mismatch",
    "staging": "identity_mismatch",
    "ciphertext_length": "identity_mismatch",
    "ciphertext_sha256": "identity_mismatch",
}


def _different(name: str, reason: Reason = "identity_mismatch") -> Refused:
    return Refused(reason, f"{name} of the manifest is not that of the session.")


def check_length(manifest: UploadManifest, length: int) -> None:
    """Compares a manifest with the staged object's length in bytes. Raises Refused: `invalid_length`."""
    if length != manifest.ciphertext_length:
        raise Refused("invalid_length", "The staged object has another length than the manifest says.")


def check_header(manifest: UploadManifest, header: StoredHeader) -> None:
    """Compares a manifest with the header of the stored object. Raises Refused:
    `recording_identity_mismatch`, `integrity_failed` (another mode), `digest_mismatch`."""
    if (header.recording_uuid, header.recording_generation) != (
        manifest.recording_uuid,
        manifest.recording_generation,
    ):
        raise Refused("recording_identity_mismatch", "The staged object is that of another recording.")
    if _flags(header) != manifest.flags:
        raise Refused("integrity_failed", "The staged object is of another mode than the manifest says.")
    if hashlib.sha256(encode_header(header)).digest() != manifest.header_sha256:
        raise _other_digest("header_sha256")


def check_opened(manifest: UploadManifest, stored: SealedObject) -> None:
    """Compares a manifest with the object that was opened. Raises Refused as `check_header`, and
    `invalid_length`, `digest_mismatch`."""
    check_header(manifest, stored.header)
    check_length(manifest, stored.extent.ciphertext_length)
    for name in ("ciphertext_sha256", "plaintext_sha256", "trailer_sha256"):
        if getattr(stored, name) != getattr(manifest, name):
            raise _other_digest(name)


def _other_digest(name: str) -> Refused:
    return Refused("digest_mismatch", f"{name} of the manifest is not that of the staged object.")


def open_key(data: bytes, private_key: bytes, authorization: bytes) -> bytes:
    """The data key (32 bytes) of a manifest of 580 bytes, with the X25519 private key of its session.

    Raises Refused as `parse`, and in this order: `hpke_open_failed`, `digest_mismatch` (the envelope is for
    another object or another authorization), `authentication_failed` (the tag of the manifest).
    """
    manifest = parse(data)
    storage, context = manifest.storage_identity, digests.upload_context(authorization)
    plaintext = hpke.unseal(
        private_key, manifest.encapsulated_key, manifest.sealed_key, info=INFO, aad=context + storage
    )
    data_key, identities = plaintext[:DATA_KEY_LENGTH], plaintext[DATA_KEY_LENGTH:]
    if not hmac.compare_digest(identities, storage + context):
        raise Refused("digest_mismatch", "The envelope is that of another upload.")
    verify_tag(data, data_key)
    return data_key


def verify_tag(data: bytes, data_key: bytes) -> None:
    """Raises Refused as `parse`, and `authentication_failed` unless `data_key` made the tag of this
    manifest.
    """
    manifest = parse(data)
    tag = digests.manifest_tag(data_key, manifest.recording_uuid, manifest.recording_generation, data)
    if not hmac.compare_digest(tag, manifest.tag):
        raise Refused("authentication_failed", "The tag of the manifest is not that of its data key.")


def _flags(header: StoredHeader) -> Literal[3, 5]:
    return COMPLETE_BATCH if header.mode == BATCH else COMPLETE_STREAM
