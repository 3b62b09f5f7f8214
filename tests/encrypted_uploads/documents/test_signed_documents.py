"""Signatures, times and facts of the two documents that the server signs; digests and capabilities."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

import lapel
from lapel.slices.encrypted_uploads.documents import (
    capabilities,
    digests,
    profiles,
    receipt,
    signatures,
    upload_authorization,
)
from lapel.slices.encrypted_uploads.documents.failures import Refused
from tests.encrypted_uploads.documents.samples import (
    NOW,
    SESSION,
    SIGNING,
    authorized,
    expectations,
    received,
    upload,
)
from tests.support.device_verification import (
    choose,
    public_key_of_der,
    verify_authorization,
    verify_receipt,
    verify_signature,
)

ORDER = 115792089210356248762697446949407573529996955224135760342422259061068512044369
PACKAGE = Path(lapel.__file__).parent / "slices" / "encrypted_uploads" / "documents"


@given(st.binary(max_size=100))
def test_signatures_have_the_low_s_and_the_high_one_is_refused(message: bytes) -> None:
    signature = signatures.sign(SIGNING, message)
    verify_signature(SIGNING.public_key(), message, signature)
    s = int.from_bytes(signature[32:], "big")
    assert 0 < s <= ORDER // 2
    high = signature[:32] + (ORDER - s).to_bytes(32, "big")
    for other in (high, signature[:-1], signature + b"\0", bytes(64), b"\xff" * 64, b""):
        with pytest.raises(Refused) as refused:
            verify_signature(SIGNING.public_key(), message, other)
        assert refused.value.reason == "signature_invalid"
    with pytest.raises(Refused):
        verify_signature(SIGNING.public_key(), message + b"x", signature)


def test_new_keys_differ_and_are_read_again() -> None:
    first, second = signatures.new_private_key(), signatures.new_private_key()
    assert first != second
    assert signatures.private_bytes(signatures.private_key(first)) == first


def test_what_is_no_key_of_p256_is_not_read() -> None:
    for data in (b"", bytes(32), b"\xff" * 32, bytes(31)):
        with pytest.raises(ValueError, match=r"\w"):
            signatures.private_key(data)
    for data in (b"", bytes(64), b"\x01" * 64, bytes(63)):
        with pytest.raises(ValueError, match=r"\w"):
            signatures.public_key_of_raw(data)
    others = (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 1024))
    for other in others:
        der = other.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        with pytest.raises(ValueError, match="P-256"):
            public_key_of_der(der)


@pytest.mark.parametrize("after", [0, 1, 10**6])
def test_documents_expire(after: int) -> None:
    public, expires_at = SIGNING.public_key(), NOW + 10
    for verify, data in (
        (verify_authorization, upload().authorization),
        (verify_receipt, upload().receipt),
    ):
        verify(data, public, now=expires_at - 1, expected=expectations())
        with pytest.raises(Refused) as refused:
            verify(data, public, now=expires_at + after, expected=expectations())
        assert refused.value.reason == "expired"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"environment": 0}, "environment_mismatch"),
        ({"session_uuid": UUID(int=9)}, "session_mismatch"),
        ({"owner_revision": 2}, "session_mismatch"),
        ({"binding_generation": 6}, "binding_generation_mismatch"),
        ({"recording_uuid": UUID(int=9)}, "recording_identity_mismatch"),
        ({"recording_generation": 8}, "recording_identity_mismatch"),
        ({"device": bytes(32)}, "identity_mismatch"),
        ({"tenant": bytes(32)}, "identity_mismatch"),
        ({"configuration": bytes(32)}, "identity_mismatch"),
        ({"ciphertext_sha256": bytes(32)}, "identity_mismatch"),
    ],
    ids=str,
)
def test_facts_are_compared(fields: dict[str, Any], reason: str) -> None:
    expected = msgspec.structs.replace(expectations(), **fields)
    for verify, data in (
        (verify_authorization, upload().authorization),
        (verify_receipt, upload().receipt),
    ):
        with pytest.raises(Refused) as refused:
            verify(data, SIGNING.public_key(), now=NOW, expected=expected)
        assert refused.value.reason == reason


def test_an_authorization_is_for_one_nonce_and_one_length() -> None:
    for fields in ({"device_nonce": bytes(16)}, {"ciphertext_length": 1}, {"staging": bytes(32)}):
        expected = msgspec.structs.replace(expectations(), **fields)
        with pytest.raises(Refused) as refused:
            verify_authorization(upload().authorization, SIGNING.public_key(), now=NOW, expected=expected)
        assert refused.value.reason == "identity_mismatch"


@pytest.mark.parametrize(
    "fields",
    [
        {"environment": 3},
        {"policy": 3},
        {"channel_mask": 0},
        {"channel_mask": 8},
        {"flags": 0},
        {"flags": 16},
        {"minimum_length": 1},
        {"expires_at": 0},
        {"tenant": bytes(31)},
        {"owner_revision": 2**32},
        {"policy_revision": 2**64},
        {"signing_key_id": -1},
    ],
    ids=str,
)
def test_nothing_is_signed_that_would_be_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        upload_authorization.encode(msgspec.structs.replace(authorized(upload().facts), **fields), SIGNING)


@pytest.mark.parametrize("fields", [{"environment": 9}, {"expires_at": 0}, {"device": b""}], ids=str)
def test_no_receipt_is_signed_that_would_be_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        receipt.encode(msgspec.structs.replace(received(upload().facts), **fields), SIGNING)


def test_digests_are_those_of_the_contract() -> None:
    def sha256(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    start = b"bota/enc-v2/"
    assert digests.device_identity("SN-é") == sha256(start + b"device-identity/v1\x05\x00SN-\xc3\xa9")
    assert digests.tenant("o", "pp") == sha256(start + b"tenant-context/v1\x01\x00o\x02\x00pp")
    staged = start + b"staging-object/v1" + SESSION.bytes + b"\x01\x00b\x01\x00k"
    assert digests.staging_object(SESSION, "b", "k") == sha256(staged)
    published = start + b"publication/v1\x01\x00b\x01\x00k" + b"p" * 32
    assert digests.publication("b", "k", b"p" * 32) == sha256(published)
    assert digests.configuration(b"snapshot") == sha256(b"snapshot")


def test_a_text_that_has_no_length_in_two_bytes_has_no_digest() -> None:
    digests.device_identity("x" * 65_535)
    with pytest.raises(ValueError, match="65,535"):
        digests.device_identity("x" * 65_536)


def test_capabilities_say_what_a_device_can() -> None:
    data = bytearray.fromhex("010218007f00000000040004f40010000800000010000000")
    assert (capabilities.parse(bytes(data)).batch, capabilities.parse(bytes(data)).recovery) == (True, False)
    data[4:6] = b"\x7f\x03"
    assert capabilities.parse(bytes(data)).recovery
    data[4:6] = b"\x7e\x03"
    assert (capabilities.parse(bytes(data)).batch, capabilities.parse(bytes(data)).recovery) == (False, False)
    data[1], data[4] = 1, 0x7F
    assert not capabilities.parse(bytes(data)).batch, "an earlier profile of transfers"
    for at in (5, 6, 7):
        unknown = bytearray(data)
        unknown[at] |= 0x80
        with pytest.raises(Refused) as refused:
            capabilities.parse(bytes(unknown))
        assert refused.value.reason == "noncanonical_encoding"


@pytest.mark.parametrize(("read", "batch"), [(False, False), (True, False), (False, True)])
def test_v2_needs_a_device_that_is_known_to_have_it(read: bool, batch: bool) -> None:
    with pytest.raises(Refused) as refused:
        choose("encrypted_upload_v2", "v2_required", capability_read=read, capability_batch=batch)
    assert refused.value.reason == "mixed_profile"


def test_only_v2_required_refuses_legacy_uploads() -> None:
    assert not profiles.refuses_legacy("legacy_allowed")
    assert not profiles.refuses_legacy("v2_preferred")
    assert profiles.refuses_legacy("v2_required")
    with pytest.raises(Refused) as refused:
        choose("legacy_p10_relay", "v2_required", capability_read=True, capability_batch=True)
    assert refused.value.reason == "downgrade_prohibited"


def test_the_package_imports_nothing_that_reads_or_writes() -> None:
    """Lapel's own modules are those of the package; the others compute only."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {each.name for each in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module or "")
    ours = {each for each in found if each.startswith("lapel")}
    assert all(each.startswith("lapel.slices.encrypted_uploads.documents") for each in ours)
    assert {each.partition(".")[0] for each in found - ours} == {
        "__future__", "cryptography", "hashlib", "hmac", "msgspec", "struct",
        "typing", "uuid",
    }  # fmt: skip
