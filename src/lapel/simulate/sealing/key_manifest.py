"""The manifest: what the device says of a sealed recording, with the recording's key for the server alone."""

from __future__ import annotations

import struct
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from lapel.simulate.sealing.audio_seal import BLOCK, SealedAudio, recording_key
from lapel.simulate.sealing.hpke_seal import hpke_seal
from lapel.simulate.sealing.key_derivation import named, sha256, tag_of
from lapel.simulate.sealing.signed_documents import GrantedUpload

MANIFEST_BYTES: Final = 580
CHANNELS: Final = {"ble": 1, "wifi": 2, "cellular": 3}
_COMPLETE, _BATCH = 1, 2
_FIELDS = struct.Struct("<8sHHBBBBHHHHHHIIIIII16s16s16s32s32s32s32s32sQQ32s32s32s32s")
_EXPORT = named("hpke-key-export") + struct.pack("<HH", 2, 1)


def write_manifest(
    granted: GrantedUpload,
    sealed: SealedAudio,
    data_key: bytes,
    channel: str,
    ephemeral: X25519PrivateKey | None = None,
) -> bytes:
    """The manifest for one authorization: 580 bytes. Only tests give `ephemeral`.

    Raises ValueError when the authorization's public key is no usable one.
    """
    fields = _FIELDS.pack(
        b"BOTAMNF2", 2, MANIFEST_BYTES, 3, 3, granted.policy, CHANNELS[channel], 1, 0x20, 1, 3, 1,
        granted.recipient_version, granted.owner_revision, granted.binding_generation, sealed.generation,
        BLOCK, sealed.block_count, _COMPLETE | _BATCH, granted.session.bytes, granted.recipient_id.bytes,
        sealed.uuid.bytes, granted.tenant, granted.device, granted.configuration, granted.staging,
        sha256(granted.data), len(sealed.data), sealed.plaintext_length, sealed.sha256,
        sealed.plaintext_sha256, sealed.header_sha256, sealed.trailer_sha256,
    )  # fmt: skip
    storage = storage_identity(sealed)
    enc, envelope = hpke_seal(
        granted.recipient_key,
        _EXPORT,
        granted.context + storage,
        data_key + storage + granted.context,
        ephemeral,
    )
    content = fields + enc + envelope
    key = recording_key(data_key, sealed.uuid, sealed.generation, "manifest-key")
    return content + tag_of(key, named("manifest-auth"), content)


def storage_identity(sealed: SealedAudio) -> bytes:
    """The hash by which the envelope names the sealed recording."""
    return sha256(
        named("storage-identity"),
        sealed.uuid.bytes,
        struct.pack("<I", sealed.generation),
        sealed.header_sha256,
        sealed.trailer_sha256,
        struct.pack("<Q", len(sealed.data)),
        sealed.sha256,
        struct.pack("<Q", sealed.plaintext_length),
        sealed.plaintext_sha256,
    )
