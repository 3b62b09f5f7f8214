"""HPKE (RFC 9180), base mode, one message: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305.

docs/decisions/0029 says why this is our own.
"""

from __future__ import annotations

import hmac
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from lapel.slices.encrypted_uploads.documents.failures import Refused

_KEM_SUITE = b"KEM" + struct.pack(">H", 0x0020)
_SUITE = b"HPKE" + struct.pack(">HHH", 0x0020, 0x0001, 0x0003)
_VERSION = b"HPKE-v1"
_BASE_MODE = b"\x00"


def new_private_key() -> bytes:
    """A new X25519 private key: 32 bytes."""
    return X25519PrivateKey.generate().private_bytes_raw()


def public_key(private_key: bytes) -> bytes:
    """The 32-byte public key of a private key of 32 bytes."""
    return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def unseal(private_key: bytes, encapsulated: bytes, ciphertext: bytes, *, info: bytes, aad: bytes) -> bytes:
    """The plain text. Raises Refused (`hpke_open_failed`) if anything is not what was sealed."""
    own = X25519PrivateKey.from_private_bytes(private_key)
    context = encapsulated + own.public_key().public_bytes_raw()
    key, nonce = key_schedule(shared_secret(own, encapsulated, context), info)
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, ciphertext, aad)
    except InvalidTag:
        raise Refused("hpke_open_failed", "The envelope does not open with this session's key.") from None


def shared_secret(own: X25519PrivateKey, peer: bytes, context: bytes) -> bytes:
    """ExtractAndExpand of section 4.1: 32 bytes. `context` is enc, then the recipient's public key.

    Raises Refused (`hpke_open_failed`) for a `peer` of another length, and for one whose secret is zero.
    """
    try:
        secret = own.exchange(X25519PublicKey.from_public_bytes(peer))
    except ValueError:  # of a wrong length, or the shared secret is all zero
        raise Refused("hpke_open_failed", "The public key of the envelope is not usable.") from None
    extracted = _extract(_KEM_SUITE, b"", b"eae_prk", secret)
    return _expand(_KEM_SUITE, extracted, b"shared_secret", context, 32)


def key_schedule(shared: bytes, info: bytes) -> tuple[bytes, bytes]:
    """KeySchedule of section 5.1 without a pre-shared key: (key of 32 bytes, nonce of 12 bytes)."""
    context = (
        _BASE_MODE + _extract(_SUITE, b"", b"psk_id_hash", b"") + _extract(_SUITE, b"", b"info_hash", info)
    )
    secret = _extract(_SUITE, shared, b"secret", b"")
    return _expand(_SUITE, secret, b"key", context, 32), _expand(_SUITE, secret, b"base_nonce", context, 12)


def _extract(suite: bytes, salt: bytes, label: bytes, key: bytes) -> bytes:
    return hmac.digest(salt, _VERSION + suite + label + key, "sha256")


def _expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    """LabeledExpand for at most 32 bytes, which are one round of HKDF-Expand."""
    labeled = struct.pack(">H", length) + _VERSION + suite + label + info
    return hmac.digest(key, labeled + b"\x01", "sha256")[:length]
