"""Our HPKE is that of RFC 9180."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from hypothesis import given
from hypothesis import strategies as st

from lapel.slices.encrypted_uploads.documents import hpke
from lapel.slices.encrypted_uploads.documents.failures import Refused
from tests.support.device_sealing import seal_envelope

SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
KEYS = st.binary(min_size=32, max_size=32)
TEXTS = st.binary(max_size=200)

# RFC 9180, appendix A.2.1, the first message.
RFC = {
    name: bytes.fromhex(value)
    for name, value in {
        "info": "4f6465206f6e2061204772656369616e2055726e",
        "ephemeral": "f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600",
        "recipient": "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb",
        "enc": "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a",
        "plaintext": "4265617574792069732074727574682c20747275746820626561757479",
        "aad": "436f756e742d30",
        "ciphertext": (
            "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"
        ),
    }.items()
}

# Public keys of low order: with each of them, every shared secret is zero.
LOW_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


def test_the_vector_of_the_rfc() -> None:
    public = hpke.public_key(RFC["recipient"])
    sealed = seal_envelope(
        public, info=RFC["info"], aad=RFC["aad"], plaintext=RFC["plaintext"], ephemeral_key=RFC["ephemeral"]
    )
    assert sealed == (RFC["enc"], RFC["ciphertext"])
    opened = hpke.unseal(RFC["recipient"], RFC["enc"], RFC["ciphertext"], info=RFC["info"], aad=RFC["aad"])
    assert opened == RFC["plaintext"]


@given(KEYS, KEYS, TEXTS, TEXTS)
def test_the_library_opens_what_we_seal(recipient: bytes, ephemeral: bytes, info: bytes, text: bytes) -> None:
    sealed = seal_envelope(
        hpke.public_key(recipient), info=info, aad=b"", plaintext=text, ephemeral_key=ephemeral
    )
    own = X25519PrivateKey.from_private_bytes(recipient)
    assert SUITE.decrypt(b"".join(sealed), own, info) == text


@given(KEYS, TEXTS, TEXTS)
def test_we_open_what_the_library_seals(recipient: bytes, info: bytes, text: bytes) -> None:
    public = X25519PublicKey.from_public_bytes(hpke.public_key(recipient))
    sealed = SUITE.encrypt(text, public, info)
    assert hpke.unseal(recipient, sealed[:32], sealed[32:], info=info, aad=b"") == text


@given(KEYS, TEXTS, TEXTS, TEXTS)
def test_what_was_sealed_opens_only_with_its_info_and_its_data(
    recipient: bytes, info: bytes, aad: bytes, text: bytes
) -> None:
    enc, sealed = seal_envelope(hpke.public_key(recipient), info=info, aad=aad, plaintext=text)
    assert hpke.unseal(recipient, enc, sealed, info=info, aad=aad) == text
    for other in ({"info": info + b"x", "aad": aad}, {"info": info, "aad": aad + b"x"}):
        with pytest.raises(Refused) as refused:
            hpke.unseal(recipient, enc, sealed, **other)
        assert refused.value.reason == "hpke_open_failed"


@pytest.mark.parametrize("public", [*LOW_ORDER, b"", bytes(31), bytes(33)], ids=bytes.hex)
def test_a_public_key_that_is_not_usable_is_refused(public: bytes) -> None:
    with pytest.raises(Refused) as refused:
        seal_envelope(public, info=b"", aad=b"", plaintext=b"x")
    assert refused.value.reason == "hpke_open_failed"
    with pytest.raises(Refused) as refused:
        hpke.unseal(hpke.new_private_key(), public, bytes(17), info=b"", aad=b"")
    assert refused.value.reason == "hpke_open_failed"


@pytest.mark.parametrize("length", [0, 15])
def test_a_ciphertext_without_a_tag_is_refused(length: int) -> None:
    own = hpke.new_private_key()
    with pytest.raises(Refused):
        hpke.unseal(own, hpke.public_key(own), bytes(length), info=b"", aad=b"")


def test_two_messages_have_two_ephemeral_keys() -> None:
    public = hpke.public_key(hpke.new_private_key())
    first, second = (seal_envelope(public, info=b"", aad=b"", plaintext=b"x") for _ in range(2))
    assert first[0] != second[0]
