"""Domain strings, the digests that documents contain, and the keys that are derived from the data key.

A domain string makes sure that bytes that are hashed for one purpose never fit another.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Literal
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

Domain = Literal[
    "device-identity",
    "tenant-context",
    "staging-object",
    "publication",
    "upload-context",
    "storage-identity",
    "block-aad",
    "trailer-key",
    "trailer-auth",
    "manifest-key",
    "manifest-auth",
    "hpke-key-export",
]


def domain(name: Domain) -> bytes:
    """`bota/enc-v2/<name>/v1` in ASCII, without a terminator."""
    return f"bota/enc-v2/{name}/v1".encode("ascii")


def prefixed(text: str) -> bytes:
    """LP: the UTF-8 bytes after their number as u16. Raises ValueError for more than 65,535 bytes."""
    encoded = text.encode("utf-8")
    if len(encoded) > 0xFFFF:
        raise ValueError("a text of a digest has at most 65,535 bytes")
    return struct.pack("<H", len(encoded)) + encoded


def _sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def device_identity(serial_number: str) -> bytes:
    """32 bytes for a device's serial number."""
    return _sha256(domain("device-identity"), prefixed(serial_number))


def tenant(organization: str, project: str) -> bytes:
    """32 bytes for the ids of organization and project."""
    return _sha256(domain("tenant-context"), prefixed(organization), prefixed(project))


def staging_object(session: UUID, bucket: str, object_name: str) -> bytes:
    """32 bytes for the place where a session's object is staged."""
    return _sha256(domain("staging-object"), session.bytes, prefixed(bucket), prefixed(object_name))


def publication(bucket: str, object_name: str, plaintext_sha256: bytes) -> bytes:
    """32 bytes for the final place of a recording, and its plain text."""
    return _sha256(domain("publication"), prefixed(bucket), prefixed(object_name), plaintext_sha256)


def configuration(snapshot: bytes) -> bytes:
    """32 bytes for a snapshot of the effective configuration, in the form that its owner keeps."""
    return _sha256(snapshot)


def upload_context(authorization: bytes) -> bytes:
    """32 bytes for a signed authorization of 408 bytes."""
    return _sha256(domain("upload-context"), authorization)


def storage_identity(
    recording_uuid: UUID,
    recording_generation: int,
    *,
    header_sha256: bytes,
    trailer_sha256: bytes,
    ciphertext_length: int,
    ciphertext_sha256: bytes,
    plaintext_length: int,
    plaintext_sha256: bytes,
) -> bytes:
    """32 bytes for a stored object and its plain text."""
    return _sha256(
        domain("storage-identity"),
        recording_salt(recording_uuid, recording_generation),
        header_sha256,
        trailer_sha256,
        struct.pack("<Q", ciphertext_length),
        ciphertext_sha256,
        struct.pack("<Q", plaintext_length),
        plaintext_sha256,
    )


def recording_salt(recording_uuid: UUID, recording_generation: int) -> bytes:
    """The 20 bytes that name a recording of a device: uuid, then u32 generation."""
    return recording_uuid.bytes + struct.pack("<I", recording_generation)


def trailer_tag(data_key: bytes, recording_uuid: UUID, recording_generation: int, trailer: bytes) -> bytes:
    """The 32-byte tag over the first 112 bytes of a trailer."""
    key = _derived(data_key, recording_salt(recording_uuid, recording_generation), domain("trailer-key"))
    return hmac.digest(key, domain("trailer-auth") + trailer[:112], "sha256")


def manifest_tag(data_key: bytes, recording_uuid: UUID, recording_generation: int, manifest: bytes) -> bytes:
    """The 32-byte tag over the first 548 bytes of a manifest."""
    key = _derived(data_key, recording_salt(recording_uuid, recording_generation), domain("manifest-key"))
    return hmac.digest(key, domain("manifest-auth") + manifest[:548], "sha256")


def _derived(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), length=32, salt=salt, info=info).derive(key)
