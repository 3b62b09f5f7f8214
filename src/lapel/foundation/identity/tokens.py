"""Bearer tokens: `prefix_` + 32 random base-62 characters + 6 base-62 characters of a CRC32.

Because of the checksum, a mistyped or invented token is refused without a query. The database stores only an
HMAC-SHA256, keyed with a pepper (a key from the server's secret). A slow hash would only cost time, because
tokens are random.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from zlib import crc32

from lapel.foundation.core.base62 import ALPHABET, encode
from lapel.foundation.keyed_hash import KeyedHash

_RANDOM_CHARACTERS = 32
_CHECKSUM_CHARACTERS = 6


def new_token(prefix: str) -> str:
    """A fresh token of 190 random bits."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(_RANDOM_CHARACTERS))
    return f"{prefix}_{body}{_checksum(prefix, body)}"


def token_prefix(token: str) -> str | None:
    """The prefix of a token with a valid shape and checksum; None for any other text."""
    prefix, _, tail = token.rpartition("_")
    if len(tail) != _RANDOM_CHARACTERS + _CHECKSUM_CHARACTERS or not tail.isascii():
        return None
    body = tail[:_RANDOM_CHARACTERS]
    return prefix if _checksum(prefix, body) == tail[_RANDOM_CHARACTERS:] else None


def hint(token: str) -> str:
    """The part of a token that may be shown later: its prefix and its last four characters."""
    return f"{token.rpartition('_')[0]}_…{token[-4:]}"


def _checksum(prefix: str, body: str) -> str:
    return encode(crc32(f"{prefix}_{body}".encode()), _CHECKSUM_CHARACTERS)


@dataclass(frozen=True, slots=True)
class TokenHasher:
    """Keyed hashes of tokens: with the present pepper, and with those of other secrets.

    `secret_id` names the secret that the present pepper comes from; it is stored beside each hash.
    """

    pepper: bytes
    others: tuple[bytes, ...] = ()
    secret_id: str = ""
    _present: KeyedHash = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Prepare the hash under the present pepper, which every request needs."""
        object.__setattr__(self, "_present", KeyedHash(self.pepper))

    def hash(self, token: str) -> bytes:
        """The hash that is stored: 32 bytes, under the present pepper."""
        return self._present.digest(token.encode())

    def candidates(self, token: str) -> list[bytes]:
        """The hashes with which to look up a token: under the present pepper, then under the others."""
        return [self.hash(token), *(KeyedHash(each).digest(token.encode()) for each in self.others)]
