"""HPKE in base mode (RFC 9180): seals one message to an X25519 public key.

DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305.
"""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

_KEM = b"KEM\x00\x20"
_SUITE = b"HPKE\x00\x20\x00\x01\x00\x03"
_MODE = b"\x00"


def hpke_seal(
    recipient: bytes, info: bytes, aad: bytes, plain: bytes, ephemeral: X25519PrivateKey | None = None
) -> tuple[bytes, bytes]:
    """`enc` of 32 bytes, and the ciphertext with its tag. Only tests give `ephemeral`.

    Raises ValueError when `recipient` is no usable public key.
    """
    ephemeral = ephemeral or X25519PrivateKey.generate()
    enc = ephemeral.public_key().public_bytes_raw()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    secret = _expand(_KEM, _extract(_KEM, b"", b"eae_prk", shared), b"shared_secret", enc + recipient, 32)
    context = _MODE + _extract(_SUITE, b"", b"psk_id_hash", b"") + _extract(_SUITE, b"", b"info_hash", info)
    chosen = _extract(_SUITE, secret, b"secret", b"")
    key = _expand(_SUITE, chosen, b"key", context, 32)
    nonce = _expand(_SUITE, chosen, b"base_nonce", context, 12)
    return enc, ChaCha20Poly1305(key).encrypt(nonce, plain, aad)


def _extract(suite: bytes, salt: bytes, label: bytes, key: bytes) -> bytes:
    return hmac.digest(salt, b"HPKE-v1" + suite + label + key, "sha256")


def _expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return HKDFExpand(SHA256(), length, labelled).derive(key)
