"""The hashes, keys and names that several documents use."""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def named(name: str) -> bytes:
    """The prefix that keeps hashes and keys of different purposes apart; it has no terminator."""
    return f"bota/enc-v2/{name}/v1".encode()


def sha256(*parts: bytes) -> bytes:
    """SHA-256 of the joined parts."""
    return hashlib.sha256(b"".join(parts)).digest()


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    """A key of 32 bytes (HKDF, RFC 5869, with SHA-256)."""
    return HKDF(SHA256(), 32, salt, info).derive(key)


def tag_of(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA-256 of the joined parts."""
    return hmac.digest(key, b"".join(parts), "sha256")


def device_identity(serial_number: str) -> bytes:
    """The hash by which documents name a device."""
    text = serial_number.encode()
    return sha256(named("device-identity"), len(text).to_bytes(2, "little"), text)
