"""What a device and its client check: signatures, times, facts and receipts, and the profile of an upload."""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from lapel.slices.encrypted_uploads.documents import receipt, upload_authorization
from lapel.slices.encrypted_uploads.documents.failures import Reason, Refused
from lapel.slices.encrypted_uploads.documents.profiles import PolicyName, refuses_legacy
from lapel.slices.encrypted_uploads.documents.receipt import Receipt
from lapel.slices.encrypted_uploads.documents.upload_authorization import Authorization

Replay = Literal["first", "idempotent"]
Profile = Literal["legacy_plain_v1", "legacy_p10_relay", "encrypted_upload_v2"]
Route = Literal["presigned_s3", "upload_relay", "ciphertext_staging"]

_HALF_OF_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551 // 2

ROUTES: dict[Profile, Route] = {
    "legacy_plain_v1": "presigned_s3",
    "legacy_p10_relay": "upload_relay",
    "encrypted_upload_v2": "ciphertext_staging",
}


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


def public_der(key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key as SubjectPublicKeyInfo in DER: 91 bytes."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def public_key_of_der(data: bytes) -> ec.EllipticCurvePublicKey:
    """The public key of a SubjectPublicKeyInfo in DER. Raises ValueError for anything but a key of P-256."""
    key = load_der_public_key(data)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("this is no public key of P-256")  # noqa: TRY004  # the value is wrong, not its type
    return key


def verify_signature(key: ec.EllipticCurvePublicKey, message: bytes, signature: bytes) -> None:
    """Raises Refused (`signature_invalid`) unless `signature` is that of `message`, with the low s."""
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if len(signature) != 64 or s > _HALF_OF_ORDER:
        raise Refused("signature_invalid", "The signature does not have the one form that is allowed.")
    try:
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise Refused("signature_invalid", "The signature is not that of this document.") from None


def verify_authorization(
    data: bytes, key: EllipticCurvePublicKey, *, now: int, expected: Expectations
) -> Authorization:
    """The fields of an authorization that is valid at `now` (seconds since 1970) and has the expected facts.

    Raises Refused as `parse`, and in this order: `signature_invalid`, `expired`, and as `compare`.
    """
    found = upload_authorization.parse(data)
    verify_signature(key, data[: upload_authorization.SIGNED], found.signature)
    if now >= found.expires_at:
        raise Refused("expired", "The authorization has expired.")
    compare(found, expected)
    return found


def verify_receipt(data: bytes, key: EllipticCurvePublicKey, *, now: int, expected: Expectations) -> Receipt:
    """The fields of a receipt that is valid at `now` (seconds since 1970) and has the expected facts.

    Raises Refused as `parse`, and in this order: `signature_invalid`, `expired`, and as `compare`.
    """
    found = receipt.parse(data)
    verify_signature(key, data[: receipt.SIGNED], found.signature)
    if now >= found.expires_at:
        raise Refused("expired", "The receipt has expired.")
    compare(found, expected)
    return found


def replay_of(data: bytes, previous_sha256: bytes | None) -> Replay:
    """`first` without a previous receipt of the session, `idempotent` if this is the same one.

    Raises Refused (`replay_conflict`) for another receipt than the previous one.
    """
    if previous_sha256 is None:
        return "first"
    if hashlib.sha256(data).digest() != previous_sha256:
        raise Refused("replay_conflict", "This session has another receipt.")
    return "idempotent"


class Choice(NamedTuple):
    """The profile of an upload, and the way of its bytes."""

    profile: Profile
    route: Route


def choose(
    requested: Profile, policy: PolicyName, *, capability_read: bool, capability_batch: bool
) -> Choice:
    """What an upload of the requested profile is under a policy.

    `capability_read` says whether the client read the device's capabilities, `capability_batch` whether they
    have the batch set. Raises Refused: `downgrade_prohibited` for a legacy profile where v2 is required,
    `mixed_profile` for v2 with a device that is not known to have it.
    """
    if requested != "encrypted_upload_v2" and refuses_legacy(policy):
        raise Refused("downgrade_prohibited", "This device uploads with encrypted upload v2 only.")
    if requested == "encrypted_upload_v2" and not (capability_read and capability_batch):
        raise Refused("mixed_profile", "The device is not known to have encrypted upload v2.")
    return Choice(requested, ROUTES[requested])
