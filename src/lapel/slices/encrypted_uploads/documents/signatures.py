"""Signatures: ECDSA on P-256 over SHA-256, as the 64 bytes r then s, big endian, with the low one of both s.

Of each signature (r, s), (r, n - s) is one, too. Only that with s ≤ n/2 is valid here, so nobody can change
the bytes of a signed document without its key.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

LENGTH = 64
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def new_private_key() -> bytes:
    """A new private key: 32 bytes, big endian."""
    return private_bytes(ec.generate_private_key(ec.SECP256R1()))


def private_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The 32 bytes of a private key, big endian."""
    return key.private_numbers().private_value.to_bytes(32, "big")


def private_key(data: bytes) -> ec.EllipticCurvePrivateKey:
    """The private key of 32 bytes. Raises ValueError for other lengths, and for numbers that are no key."""
    if len(data) != 32:
        raise ValueError("a private key of P-256 has 32 bytes")
    return ec.derive_private_key(int.from_bytes(data, "big"), ec.SECP256R1())


def public_raw(key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key as 64 bytes: x, then y, big endian."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


def public_key_of_raw(data: bytes) -> ec.EllipticCurvePublicKey:
    """The public key of 64 bytes, x then y. Raises ValueError for other lengths, and off the curve."""
    if len(data) != 64:
        raise ValueError("a public key of P-256 has 64 bytes")
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + data)


def sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """64 bytes. The same message has the same signature each time (RFC 6979)."""
    der = key.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))
    r, s = decode_dss_signature(der)
    return r.to_bytes(32, "big") + min(s, _ORDER - s).to_bytes(32, "big")
