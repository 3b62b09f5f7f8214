"""The authorization of an upload: 408 bytes that the server signs, and that the device verifies."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from lapel.slices.encrypted_uploads.documents import signatures
from lapel.slices.encrypted_uploads.documents.failures import Refused
from lapel.slices.encrypted_uploads.documents.layouts import (
    AEAD,
    KDF,
    KEM,
    PROFILE,
    RECIPIENT_KEY_VERSION,
    STORAGE_FORMAT,
    SUITE,
    Bytes16,
    Bytes32,
    Bytes64,
    Environment,
    Layout,
    Policy,
    Uint32,
    Uint64,
    must,
)

LENGTH = 408
SIGNED = 344  # the signature is over the bytes before it

BLE, WIFI, CELLULAR = 1, 2, 4  # of the channel mask
BATCH, RESUME, CROSS_CHANNEL, REPLACEMENT = 1, 2, 4, 8  # of the flags

LAYOUT = Layout(
    b"BOTAAUT2",
    LENGTH,
    (
        (12, "B", "environment"),
        (13, "B", "profile"),
        (14, "B", "storage_format"),
        (15, "B", "policy"),
        (16, "B", "channel_mask"),
        (17, "B", 0),
        (18, "H", SUITE),
        (20, "H", KEM),
        (22, "H", KDF),
        (24, "H", AEAD),
        (26, "H", 1),  # signature suite
        (28, "H", RECIPIENT_KEY_VERSION),
        (30, "H", "flags"),
        (32, "I", "owner_revision"),
        (36, "I", "binding_generation"),
        (40, "I", "recording_generation"),
        (44, "I", "signing_key_id"),
        (48, "Q", "policy_revision"),
        (56, "Q", "issued_at"),
        (64, "Q", "expires_at"),
        (72, "Q", "minimum_length"),
        (80, "Q", "maximum_length"),
        (88, "uuid", "session_uuid"),
        (104, "uuid", "recipient_key_uuid"),
        (120, "uuid", "recording_uuid"),
        (136, "16s", "device_nonce"),
        (152, "32s", "recipient_public_key"),
        (184, "32s", "tenant"),
        (216, "32s", "device"),
        (248, "32s", "configuration"),
        (280, "32s", "staging"),
        (312, "32s", "ciphertext_sha256"),
        (344, "64s", "signature"),
    ),
)


class Authorization(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of an authorization. Times are seconds since 1970, lengths bytes of the whole stored
    object.
    """

    environment: Environment
    profile: Literal[3] = PROFILE
    storage_format: Literal[3] = STORAGE_FORMAT
    policy: Policy
    channel_mask: Annotated[int, msgspec.Meta(ge=1, le=7)]
    flags: Annotated[int, msgspec.Meta(ge=1, le=15)]
    owner_revision: Uint32
    binding_generation: Uint32
    recording_generation: Uint32
    signing_key_id: Uint32
    policy_revision: Uint64
    issued_at: Uint64
    expires_at: Uint64
    minimum_length: Uint64
    maximum_length: Uint64
    session_uuid: UUID
    recipient_key_uuid: UUID
    recording_uuid: UUID
    device_nonce: Bytes16
    recipient_public_key: Bytes32
    tenant: Bytes32
    device: Bytes32
    configuration: Bytes32
    staging: Bytes32
    ciphertext_sha256: Bytes32
    signature: Bytes64 = bytes(signatures.LENGTH)

    @property
    def ciphertext_length(self) -> int:
        """The one length that is authorized: minimum and maximum are equal."""
        return self.maximum_length


def encode(authorization: Authorization, key: EllipticCurvePrivateKey) -> bytes:
    """The 408 bytes, signed by `key`; the field `signature` is not read. Raises ValueError for a value that
    `parse` would refuse."""
    unsigned = LAYOUT.pack(msgspec.structs.replace(authorization, signature=bytes(signatures.LENGTH)))
    try:
        parse(unsigned)
    except Refused as refused:
        raise ValueError(str(refused)) from refused
    return unsigned[:SIGNED] + signatures.sign(key, unsigned[:SIGNED])


def parse(data: bytes) -> Authorization:
    """The fields; signature, times and facts are not checked. Raises Refused: `invalid_magic`,
    `unsupported_version`, `invalid_length`, `noncanonical_encoding`."""
    found = LAYOUT.parse(data, Authorization)
    must(found.minimum_length == found.maximum_length, "An authorization is for one length.")
    must(found.issued_at < found.expires_at, "An authorization expires after it is issued.")
    return found
