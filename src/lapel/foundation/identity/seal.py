"""Sealing: data that the server must be able to read again is stored encrypted, with AES-256-GCM.

HKDF (RFC 5869) derives the token pepper and the sealing key from one secret (`LAPEL_SECRET`). While the
secret is rotated, the previous secret still opens sealed data and still finds tokens.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lapel.foundation.identity.tokens import TokenHasher

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERSION = b"\x01"
_NONCE_BYTES = 12
_TAG_BYTES = 16


class SealBroken(Exception):
    """Sealed bytes that no known key opens: another secret, another context, or damage."""


def derive(secret: str, purpose: str) -> bytes:
    """32 bytes of key for one purpose."""
    return HKDF(algorithm=SHA256(), length=32, salt=b"lapel", info=purpose.encode()).derive(secret.encode())


def secret_id(secret: str) -> str:
    """A name of the secret: 16 hexadecimal digits that reveal nothing about the secret."""
    return derive(secret, "secret-id")[:8].hex()


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals with the present key; opens with the present or the previous key."""

    keys: tuple[bytes, ...]

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """Version, nonce, ciphertext and tag. `context` is authenticated but not stored: `open` needs the
        same context."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + nonce + AESGCM(self.keys[0]).encrypt(nonce, plain, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """The plain bytes. Raises SealBroken when no key opens them with this context."""
        if sealed[:1] != _VERSION or len(sealed) < 1 + _NONCE_BYTES + _TAG_BYTES:
            raise SealBroken
        nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        for key in self.keys:
            try:
                return AESGCM(key).decrypt(nonce, body, context)
            except InvalidTag:
                continue
        raise SealBroken

    def seal_again(self, sealed: bytes, context: bytes) -> bytes | None:
        """The same plain bytes, sealed under the present key; None if they are already.

        Raises SealBroken as `open` does.
        """
        try:
            Sealer(self.keys[:1]).open(sealed, context)
        except SealBroken:
            return self.seal(self.open(sealed, context), context)
        return None


def token_pepper(secret: str) -> bytes:
    """The key of the hashes of keys and tokens."""
    return derive(secret, "token-pepper")


def token_hasher(secret: str, previous: str | None, former: Mapping[str, bytes] | None = None) -> TokenHasher:
    """The hasher of this secret (and of the previous one). `former`: peppers by the id of their secret."""
    others = {secret_id(previous): token_pepper(previous)} if previous else {}
    others |= {each: pepper for each, pepper in (former or {}).items() if each != secret_id(secret)}
    return TokenHasher(token_pepper(secret), tuple(others.values()), secret_id(secret))


def sealer(secret: str, previous: str | None) -> Sealer:
    """The sealer of this secret (and of the previous one)."""
    secrets_in_order = [secret, previous] if previous else [secret]
    return Sealer(tuple(derive(each, "seal") for each in secrets_in_order))
