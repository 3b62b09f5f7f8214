"""The completion receipt: 336 bytes that the server signs when the plain recording is durably stored.

A device deletes its copy when it has verified a receipt. So the first bytes that were issued for a session
are its only receipt.
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from lapel.slices.encrypted_uploads.documents import signatures
from lapel.slices.encrypted_uploads.documents.failures import Refused
from lapel.slices.encrypted_uploads.documents.layouts import (
    PROFILE,
    STORAGE_FORMAT,
    Bytes32,
    Bytes64,
    Environment,
    Layout,
    Uint32,
    Uint64,
    must,
)

LENGTH = 336
SIGNED = 272  # the signature is over the bytes before it

LAYOUT = Layout(
    b"BOTARCPT",
    LENGTH,
    (
        (12, "B", "environment"),
        (13, "B", 1),  # result
        (14, "B", "profile"),
        (15, "B", "storage_format"),
        (16, "I", "owner_revision"),
        (20, "I", "binding_generation"),
        (24, "I", "recording_generation"),
        (28, "I", "signing_key_id"),
        (32, "Q", "issued_at"),
        (40, "Q", "expires_at"),
        (48, "uuid", "session_uuid"),
        (64, "uuid", "recording_uuid"),
        (80, "32s", "tenant"),
        (112, "32s", "device"),
        (144, "32s", "ciphertext_sha256"),
        (176, "32s", "plaintext_sha256"),
        (208, "32s", "publication"),
        (240, "32s", "configuration"),
        (272, "64s", "signature"),
    ),
)


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a receipt. Times are seconds since 1970."""

    environment: Environment
    profile: Literal[3] = PROFILE
    storage_format: Literal[3] = STORAGE_FORMAT
    owner_revision: Uint32
    binding_generation: Uint32
    recording_generation: Uint32
    signing_key_id: Uint32
    issued_at: Uint64
    expires_at: Uint64
    session_uuid: UUID
    recording_uuid: UUID
    tenant: Bytes32
    device: Bytes32
    ciphertext_sha256: Bytes32
    plaintext_sha256: Bytes32
    publication: Bytes32
    configuration: Bytes32
    signature: Bytes64 = bytes(signatures.LENGTH)


def encode(receipt: Receipt, key: EllipticCurvePrivateKey) -> bytes:
    """The 336 bytes, signed by `key`; the field `signature` is not read. Raises ValueError for a value that
    `parse` would refuse."""
    unsigned = LAYOUT.pack(msgspec.structs.replace(receipt, signature=bytes(signatures.LENGTH)))
    try:
        parse(unsigned)
    except Refused as refused:
        raise ValueError(str(refused)) from refused
    return unsigned[:SIGNED] + signatures.sign(key, unsigned[:SIGNED])


def parse(data: bytes) -> Receipt:
    """The fields; signature, times and facts are not checked. Raises Refused: `invalid_magic`,
    `unsupported_version`, `invalid_length`, `noncanonical_encoding`."""
    found = LAYOUT.parse(data, Receipt)
    must(found.issued_at < found.expires_at, "A receipt expires after it is issued.")
    return found
