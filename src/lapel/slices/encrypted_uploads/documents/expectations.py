"""What a verifier of a signed document already knows, and what a difference is called."""

from __future__ import annotations

from uuid import UUID

import msgspec

from lapel.slices.encrypted_uploads.documents.failures import Reason, Refused


class Expectations(msgspec.Struct, frozen=True, kw_only=True):
    """Facts that a document must repeat. A fact that is None is not known to the verifier, and not
    compared.
    """

    environment: int
    session_uuid: UUID
    binding_generation: int
    recording_uuid: UUID
    recording_generation: int
    device: bytes
    ciphertext_sha256: bytes
    tenant: bytes | None = None
    configuration: bytes | None = None
    staging: bytes | None = None
    owner_revision: int | None = None
    ciphertext_length: int | None = None
    plaintext_sha256: bytes | None = None
    device_nonce: bytes | None = None


# In the order in which they are compared.
REASONS: dict[str, Reason] = {
    "environment": "environment_mismatch",
    "session_uuid": "session_mismatch",
    "owner_revision": "session_mismatch",
    "binding_generation": "binding_generation_mismatch",
    "recording_uuid": "recording_identity_mismatch",
    "recording_generation": "recording_identity_mismatch",
}


def compare(document: msgspec.Struct, expected: Expectations) -> None:
    """Raises Refused for the first fact of `document` that differs: see REASONS, else `identity_mismatch`.

    A fact that is expected and that this kind of document does not have is a mistake of the caller:
    AttributeError.
    """
    facts = dict.fromkeys(REASONS) | dict.fromkeys(expected.__struct_fields__)
    for name in facts:
        wanted = getattr(expected, name)
        if wanted is not None and getattr(document, name) != wanted:
            raise Refused(REASONS.get(name, "identity_mismatch"), f"{name} is not the expected one.")
