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
from lapel.slices.encrypted_uploads.documents.expectations import REASONS
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
from lapel.slices.encrypted_uploads.documents.upload_authorization import Authorization

LENGTH = 580
TAGGED = 548  # the tag is over the bytes before it
DATA_KEY_LENGTH = 32
SEALED_LENGTH = 112  # data key, two digests, and the tag of 16 bytes

COMPLETE_BATCH, COMPLETE_STREAM = 3, 5  # the two values of flags: 1 complete, 2 batch, 4 stream
# Channel of a manifest to its bit in the channel mask of an authorization.
CHANNEL_BITS = {1: upload_authorization.BLE, 2: upload_authorization.WIFI, 3: upload_authorization.CELLULAR}

_INFO = digests.domain("hpke-key-export") + VERSION.to_bytes(2, "little") + SUITE.to_bytes(2, "little")

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
    for name in (*(each for each in REASONS if each != "environment"), *_REPEATED):
        if getattr(manifest, name) != getattr(issued, name):
            raise _different(name, REASONS.get(name, "identity_mismatch"))
    if hashlib.sha256(authorization).digest() != manifest.authorization_sha256:
        raise _different("authorization_sha256")
    if not issued.channel_mask & CHANNEL_BITS[manifest.channel]:
        raise _different("channel")


# What a manifest repeats of its authorization, in the order of comparison, after the names of REASONS.
_REPEATED = (
    "recipient_key_uuid", "policy", "tenant", "device", "configuration", "staging", "ciphertext_length",
    "ciphertext_sha256",
)  # fmt: skip


def _different(name: str, reason: Reason = "identity_mismatch") -> Refused:
    return Refused(reason, f"{name} of the manifest is not that of the session.")


def check_staged(manifest: UploadManifest, length: int, sha256: bytes) -> None:
    """Compares a manifest with the staged object's length in bytes, and its SHA-256 as the store knows it.

    Raises Refused: `invalid_length`, `digest_mismatch`.
    """
    if length != manifest.ciphertext_length:
        raise Refused("invalid_length", "The staged object has another length than the manifest says.")
    if sha256 != manifest.ciphertext_sha256:
        raise Refused("digest_mismatch", "The staged object has another SHA-256 than the manifest says.")


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
    check_staged(manifest, stored.extent.ciphertext_length, stored.ciphertext_sha256)
    for name in ("plaintext_sha256", "trailer_sha256"):
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
        private_key, manifest.encapsulated_key, manifest.sealed_key, info=_INFO, aad=context + storage
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


def seal(
    stored: SealedObject,
    data_key: bytes,
    authorization: bytes,
    *,
    channel: Literal[1, 2, 3] = 1,
    ephemeral_key: bytes | None = None,
) -> bytes:
    """The 580 bytes for a stored object under an authorization. The data key is sealed for the session's key.

    Only tests give `ephemeral_key`. Raises Refused as `upload_authorization.parse`, and `hpke_open_failed`
    for a public key of the session that is not usable.
    """
    issued = upload_authorization.parse(authorization)
    unsealed = _described(stored, issued, hashlib.sha256(authorization).digest(), channel)
    storage, context = unsealed.storage_identity, digests.upload_context(authorization)
    encapsulated, sealed = hpke.seal(
        issued.recipient_public_key,
        info=_INFO,
        aad=context + storage,
        plaintext=data_key + storage + context,
        ephemeral_key=ephemeral_key,
    )
    untagged = encode(
        msgspec.structs.replace(unsealed, encapsulated_key=encapsulated, sealed_key=sealed, tag=bytes(32))
    )
    return untagged[:TAGGED] + digests.manifest_tag(
        data_key, unsealed.recording_uuid, unsealed.recording_generation, untagged
    )


def encode(manifest: UploadManifest) -> bytes:
    """The 580 bytes of these fields, as they are. Raises ValueError for a value that has no place."""
    return LAYOUT.pack(manifest)


def _described(
    stored: SealedObject, issued: Authorization, authorization_sha256: bytes, channel: Literal[1, 2, 3]
) -> UploadManifest:
    return UploadManifest(
        policy=issued.policy,
        channel=channel,
        owner_revision=issued.owner_revision,
        binding_generation=issued.binding_generation,
        recording_generation=stored.header.recording_generation,
        block_count=stored.extent.block_count,
        flags=_flags(stored.header),
        session_uuid=issued.session_uuid,
        recipient_key_uuid=issued.recipient_key_uuid,
        recording_uuid=stored.header.recording_uuid,
        tenant=issued.tenant,
        device=issued.device,
        configuration=issued.configuration,
        staging=issued.staging,
        authorization_sha256=authorization_sha256,
        ciphertext_length=stored.extent.ciphertext_length,
        plaintext_length=stored.extent.plaintext_length,
        ciphertext_sha256=stored.ciphertext_sha256,
        plaintext_sha256=stored.plaintext_sha256,
        header_sha256=stored.header_sha256,
        trailer_sha256=stored.trailer_sha256,
    )


def _flags(header: StoredHeader) -> Literal[3, 5]:
    return COMPLETE_BATCH if header.mode == BATCH else COMPLETE_STREAM
