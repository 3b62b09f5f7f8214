"""Every public test vector has its stated verdict."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from lapel.slices.encrypted_uploads.documents import manifest, receipt, signatures, upload_authorization
from lapel.slices.encrypted_uploads.documents.failures import Refused
from lapel.slices.encrypted_uploads.documents.stored_object import frame, opener
from tests.encrypted_uploads.documents.samples import fed
from tests.encrypted_uploads.documents.vectors import Case, cases, document, issued_for, key, run
from tests.support.device_sealing import BlockSealer, seal_manifest, unwrap, wrap
from tests.support.device_verification import public_der, replay_of


def named(case: Case) -> str:
    return case.name


def test_the_file_says_where_it_is_from_and_has_all_cases() -> None:
    assert document()["source"].startswith("Public test vectors of an MIT-licensed device SDK")
    assert len(cases()) == 40


@pytest.mark.parametrize("case", cases().values(), ids=named)
def test_each_case_has_its_verdict(case: Case) -> None:
    if case.error is None:
        assert run(case) == case.expected
    else:
        with pytest.raises(Refused) as refused:
            run(case)
        assert refused.value.reason == case.error


def test_a_server_does_not_know_the_key_of_an_altered_envelope() -> None:
    case = cases()["manifest-altered-hpke-payload"]
    with pytest.raises(Refused) as refused:
        manifest.open_key(case.data, key("hpkeRecipientPrivateKey"), issued_for(case))
    assert refused.value.reason == "hpke_open_failed"


@pytest.mark.parametrize("name", ["authorization-development", "authorization-production"])
def test_authorizations_are_signed_to_the_same_bytes(name: str) -> None:
    data = cases()[name].data
    signing_key = signatures.private_key(key("backendP256SigningKey"))
    assert upload_authorization.encode(upload_authorization.parse(data), signing_key) == data


def test_the_receipt_is_signed_to_the_same_bytes() -> None:
    data = cases()["completion-receipt"].data
    signing_key = signatures.private_key(key("backendP256SigningKey"))
    assert receipt.encode(receipt.parse(data), signing_key) == data


def test_another_receipt_of_the_session_is_a_conflict() -> None:
    case = cases()["receipt-idempotent-replay"]
    found = receipt.parse(case.data)
    signing_key = signatures.private_key(key("backendP256SigningKey"))
    later = receipt.encode(msgspec.structs.replace(found, issued_at=found.issued_at + 1), signing_key)
    with pytest.raises(Refused) as refused:
        replay_of(later, hashlib.sha256(case.data).digest())
    assert refused.value.reason == "replay_conflict"


@pytest.mark.parametrize("name", ["storage-partial-block", "storage-multi-block"])
def test_objects_are_sealed_to_the_same_bytes(name: str) -> None:
    data = cases()[name].data
    opening = opener.BlockOpener(key("dataKey"), len(data))
    plaintext = fed(opening, data)
    header = opening.finish().header
    assert frame.encode_header(header) == data[:128]
    assert unwrap(key("deviceRootKey"), header) == key("dataKey")
    sealing = BlockSealer(key("dataKey"), header)
    sealed = sealing.feed(plaintext)
    last, facts = sealing.finish()
    assert sealed + last == data
    assert facts == opening_facts(data)


def opening_facts(data: bytes) -> frame.SealedObject:
    opening = opener.BlockOpener(key("dataKey"), len(data))
    fed(opening, data)
    return opening.finish()


def test_a_wrapped_key_is_that_of_the_vector() -> None:
    data = cases()["storage-partial-block"].data
    nonces = iter((data[48:60], data[60:72]))
    header = wrap(
        key("deviceRootKey"),
        key("dataKey"),
        frame.parse_header(data[:128]).recording_uuid,
        9,
        wrap_key_version=7,
        random=lambda _: next(nonces),
    )
    assert frame.encode_header(header) == data[:128]


def test_a_manifest_is_described_by_the_same_bytes() -> None:
    """All but the envelope and the tag: the vector's ephemeral key is not known."""
    case = cases()["manifest-hpke"]
    authorization = cases()["authorization-production"].data
    made = seal_manifest(opening_facts(cases()["storage-partial-block"].data), key("dataKey"), authorization)
    assert made[:404] == case.data[:404]
    assert manifest.LAYOUT.pack(manifest.parse(case.data)) == case.data
    assert manifest.open_key(made, key("hpkeRecipientPrivateKey"), authorization) == key("dataKey")


def test_keys_are_read_and_written() -> None:
    private = signatures.private_key(key("backendP256SigningKey"))
    public = private.public_key()
    der = key("backendP256PublicKeySpkiDer")
    assert signatures.private_bytes(private) == key("backendP256SigningKey")
    assert public_der(public) == der
    assert signatures.public_raw(public) == der[-64:]
    assert public_der(signatures.public_key_of_raw(der[-64:])) == der
