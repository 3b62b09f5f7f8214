"""Why a document or a stored object is refused."""

from __future__ import annotations

from typing import Literal

Reason = Literal[
    "invalid_magic",
    "unsupported_version",
    "invalid_length",
    "noncanonical_encoding",
    "digest_mismatch",
    "authentication_failed",
    "signature_invalid",
    "expired",
    "environment_mismatch",
    "identity_mismatch",
    "binding_generation_mismatch",
    "recording_identity_mismatch",
    "hpke_open_failed",
    "replay_conflict",
    "integrity_failed",
    "session_mismatch",
    "checkpoint_mismatch",
    "mixed_profile",
    "downgrade_prohibited",
]


class Refused(Exception):
    """A document or a stored object is not what it must be.

    `reason` is the word of the contract. The text is one sentence, and contains no secret.
    """

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason: Reason = reason
