"""HMAC-SHA256 under a key that is used often.

`hmac.digest` hashes the padded key anew for each message. A copy of the state that follows from the key takes
two thirds of the time with `hmac`, and a third with `cryptography`.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC


class KeyedHash:
    """The HMAC-SHA256 of messages under one key."""

    __slots__ = ("_state",)

    def __init__(self, key: bytes) -> None:
        self._state = HMAC(key, SHA256())

    def digest(self, message: bytes) -> bytes:
        """The 32 bytes that `hmac.digest(key, message, "sha256")` returns."""
        state = self._state.copy()
        state.update(message)
        return state.finalize()
