"""The two documents that the server signs for a device: the authorization of an upload, and the receipt.

A device knows the public keys of its project from its provisioning, and trusts nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from lapel.simulate.sealing.device_refusals import RefusalCode, insist
from lapel.simulate.sealing.key_derivation import named, sha256

AUTHORIZATION_BYTES: Final = 408
RECEIPT_BYTES: Final = 336
_FLAGS = 15
_AUTHORIZATION = struct.Struct("<8sHHBBBBBBHHHHHHHIIIIQQQQQ16s16s16s16s32s32s32s32s32s32s64s")
_RECEIPT = struct.Struct("<8sHHBBBBIIIIQQ16s16s32s32s32s32s32s32s64s")
_SIGNATURE = 64
# The order of P-256. Of the two signatures (r, s) and (r, n - s), only the one with the smaller s counts.
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

PublicKeys = Mapping[int, ec.EllipticCurvePublicKey]


@dataclass(frozen=True, slots=True)
class GrantedUpload:
    """An authorization whose form and signature are right. `data`: its bytes. Times are Unix seconds."""

    data: bytes
    environment: int
    policy: int
    channels: int
    flags: int
    recipient_version: int
    owner_revision: int
    binding_generation: int
    recording_generation: int
    policy_revision: int
    issued_at: int
    expires_at: int
    length: int
    session: UUID
    recipient_id: UUID
    recording: UUID
    nonce: bytes
    recipient_key: bytes
    tenant: bytes
    device: bytes
    configuration: bytes
    staging: bytes
    ciphertext_sha256: bytes

    @property
    def context(self) -> bytes:
        """The upload-context: a hash by which the manifest's envelope names this authorization."""
        return sha256(named("upload-context"), self.data)


@dataclass(frozen=True, slots=True)
class StorageReceipt:
    """A receipt whose form and signature are right. Times are Unix seconds."""

    data: bytes
    environment: int
    owner_revision: int
    binding_generation: int
    recording_generation: int
    issued_at: int
    expires_at: int
    session: UUID
    recording: UUID
    tenant: bytes
    device: bytes
    ciphertext_sha256: bytes
    plaintext_sha256: bytes
    configuration: bytes


def public_keys(points: Mapping[int, bytes]) -> PublicKeys:
    """Public keys by their numbers. A point is x and y, 64 bytes. Raises ValueError if P-256 has it not."""
    return {
        number: ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + point)
        for number, point in points.items()
    }


def read_authorization(data: bytes, keys: PublicKeys) -> GrantedUpload:
    """Raises DeviceRefusal when a constant, a length or the signature is wrong."""
    _begin(data, b"BOTAAUT2", AUTHORIZATION_BYTES)
    (
        _, _, _, environment, profile, storage, policy, channels, zero, suite, kem, kdf, aead, signing,
        recipient_version, flags, owner_revision, binding_generation, recording_generation, key_id,
        policy_revision, issued_at, expires_at, least, most, session, recipient_id, recording, nonce,
        recipient_key, tenant, device, configuration, staging, ciphertext_sha256, _,
    ) = _AUTHORIZATION.unpack(data)  # fmt: skip
    insist(
        (profile, storage, suite, kem, kdf, aead, signing, recipient_version) == (3, 3, 1, 0x20, 1, 3, 1, 1),
        RefusalCode.STORAGE,
        "another profile or suite",
    )
    is_canonical = not zero and policy <= 2 and 0 < channels <= 7 and flags <= _FLAGS and least == most
    insist(is_canonical, RefusalCode.NON_CANONICAL, "a field has a value that no server writes")
    _check_signature(data, key_id, keys)
    return GrantedUpload(
        data, environment, policy, channels, flags, recipient_version, owner_revision, binding_generation,
        recording_generation, policy_revision, issued_at, expires_at, most, UUID(bytes=session),
        UUID(bytes=recipient_id), UUID(bytes=recording), nonce, recipient_key, tenant, device, configuration,
        staging, ciphertext_sha256,
    )  # fmt: skip


def read_receipt(data: bytes, keys: PublicKeys) -> StorageReceipt:
    """Raises DeviceRefusal when a constant, a length or the signature is wrong."""
    _begin(data, b"BOTARCPT", RECEIPT_BYTES)
    (
        _, _, _, environment, result, profile, storage, owner_revision, binding_generation,
        recording_generation, key_id, issued_at, expires_at, session, recording, tenant, device,
        ciphertext_sha256, plaintext_sha256, _, configuration, _,
    ) = _RECEIPT.unpack(data)  # fmt: skip
    insist((result, profile, storage) == (1, 3, 3), RefusalCode.RECEIPT, "it says nothing about success")
    _check_signature(data, key_id, keys)
    return StorageReceipt(
        data, environment, owner_revision, binding_generation, recording_generation, issued_at, expires_at,
        UUID(bytes=session), UUID(bytes=recording), tenant, device, ciphertext_sha256, plaintext_sha256,
        configuration,
    )  # fmt: skip


def _begin(data: bytes, magic: bytes, length: int) -> None:
    insist(len(data) == length, RefusalCode.LENGTH, f"{len(data)} bytes instead of {length}")
    insist(data[:8] == magic, RefusalCode.NON_CANONICAL, "another document")
    insist(data[8:10] == b"\x02\x00", RefusalCode.UNSUPPORTED_VERSION, "another version")
    insist(data[10:12] == length.to_bytes(2, "little"), RefusalCode.LENGTH, "it states another length")


def _check_signature(data: bytes, key_id: int, keys: PublicKeys) -> None:
    insist(key_id in keys, RefusalCode.SIGNATURE, f"the signing key {key_id} is not known")
    r, s = (int.from_bytes(half, "big") for half in (data[-64:-32], data[-32:]))
    insist(0 < r < _ORDER and 0 < s <= _ORDER // 2, RefusalCode.SIGNATURE, "s is not the smaller one")
    try:
        keys[key_id].verify(encode_dss_signature(r, s), data[:-_SIGNATURE], ec.ECDSA(SHA256()))
    except InvalidSignature:
        insist(False, RefusalCode.SIGNATURE, "the signature does not verify")
