"""The device's documents are those of the vectors, byte for byte, and it refuses every changed one."""

from __future__ import annotations

import hmac
import json
import struct
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from lapel.simulate.sealing.audio_seal import BLOCK, SealKeys, data_key_of, recording_key, seal_audio
from lapel.simulate.sealing.device_refusals import DeviceRefusal, RefusalCode
from lapel.simulate.sealing.key_derivation import device_identity, named
from lapel.simulate.sealing.key_manifest import storage_identity, write_manifest
from lapel.simulate.sealing.signed_documents import public_keys, read_authorization, read_receipt
from lapel.slices.encrypted_uploads.documents.stored_object.opener import BlockOpener
from tests.encrypted_uploads.documents.samples import fed

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "fixtures/encrypted-upload-v2.json").read_text()
)
CASES: dict[str, dict[str, Any]] = {case["name"]: case for case in VECTORS["cases"]}
ROOT_KEY = bytes.fromhex(VECTORS["keys"]["deviceRootKeyHex"])
DATA_KEY = bytes.fromhex(VECTORS["keys"]["dataKeyHex"])
PUBLIC_KEY = bytes.fromhex(VECTORS["keys"]["backendP256PublicKeySpkiDerHex"])[-64:]
UUID_ = UUID(VECTORS["keys"]["recordingUuid"])


def given(name: str) -> bytes:
    return bytes.fromhex(CASES[name]["inputHex"])


def key_id(document: bytes, at: int) -> int:
    return struct.unpack_from("<I", document, at)[0]


def opened(data: bytes) -> bytes:
    """The plain text of a vector's stored object, whose blocks are all whole but the last one."""
    plain, at, index = b"", 128, 0
    base = data[48:60]
    while at < len(data) - 144:
        length = int.from_bytes(data[at : at + 2], "little")
        nonce = base[:8] + (int.from_bytes(base[8:], "little") ^ index).to_bytes(4, "little")
        place = struct.pack("<H16sIIQI", 2, data[28:44], 9, index, len(plain), length)
        sealed = data[at + 4 : at + 4 + length + 16]
        plain += ChaCha20Poly1305(DATA_KEY).decrypt(nonce, sealed, named("block-aad") + place)
        at, index = at + 20 + length, index + 1
    return plain


def vector_ephemeral() -> X25519PrivateKey:
    """DeriveKeyPair (RFC 9180, 7.1.3) of the first 32 bytes of ChaCha20 under the vectors' seed."""
    seed = bytes.fromhex(VECTORS["keys"]["vectorRngSeedHex"])
    drawn = Cipher(ChaCha20(seed, bytes(16)), None).encryptor().update(bytes(32))
    suite = b"HPKE-v1KEM\x00\x20"
    secret = hmac.digest(b"", suite + b"dkp_prk" + drawn, "sha256")
    return X25519PrivateKey.from_private_bytes(hmac.digest(secret, b"\x00\x20" + suite + b"sk\x01", "sha256"))


@pytest.mark.parametrize("name", ["storage-partial-block", "storage-multi-block"])
def test_a_sealed_object_is_the_one_of_the_vector(name: str) -> None:
    vector = given(name)
    keys = SealKeys(ROOT_KEY, DATA_KEY, vector[48:60], vector[60:72], key_id(vector, 20))
    sealed = seal_audio(opened(vector), UUID_, 9, keys)
    assert sealed.data == vector
    stated = CASES[name]["expected"]["normalized"]
    assert (
        sealed.sha256.hex(),
        sealed.plaintext_sha256.hex(),
        sealed.block_count,
        sealed.plaintext_length,
    ) == (
        stated["ciphertextSha256Hex"],
        stated["plaintextSha256Hex"],
        stated["blockCount"],
        stated["plaintextLength"],
    )
    assert data_key_of(sealed, ROOT_KEY) == DATA_KEY


@pytest.mark.parametrize("length", [1, 4095, 4096, 4097, 8192, 69_632, 70_000])
def test_the_server_opens_what_the_device_seals(length: int) -> None:
    """Each side is written by itself from the layouts. Some audio ends exactly with a block."""
    plain = Random(length).randbytes(length)
    sealed = seal_audio(plain, UUID_, 1, SealKeys(ROOT_KEY, DATA_KEY, b"\xff" * 12, bytes(12)))
    opener = BlockOpener(DATA_KEY, len(sealed.data))
    assert fed(opener, sealed.data) == plain
    found = opener.finish()
    assert (found.extent.block_count, found.extent.plaintext_length) == (sealed.block_count, length)
    assert (found.header_sha256, found.trailer_sha256) == (sealed.header_sha256, sealed.trailer_sha256)


def test_a_manifest_is_the_one_of_the_vector() -> None:
    vector = given("storage-partial-block")
    keys = SealKeys(ROOT_KEY, DATA_KEY, vector[48:60], vector[60:72], key_id(vector, 20))
    sealed = seal_audio(opened(vector), UUID_, 9, keys)
    stated = CASES["manifest-hpke"]["expected"]["normalized"]
    document = given("authorization-production")
    granted = read_authorization(document, public_keys({key_id(document, 44): PUBLIC_KEY}))
    assert granted.context.hex() == stated["uploadContextDigestHex"]
    assert storage_identity(sealed).hex() == stated["storageIdentityDigestHex"]
    written = write_manifest(granted, sealed, DATA_KEY, "ble", vector_ephemeral())
    assert written == given("manifest-hpke")


@pytest.mark.parametrize("name", ["authorization-development", "authorization-production"])
def test_an_authorization_is_read_as_the_vector_says(name: str) -> None:
    document, case = given(name), CASES[name]
    granted = read_authorization(document, public_keys({key_id(document, 44): PUBLIC_KEY}))
    stated = case["expected"]["normalized"]
    assert (granted.environment, granted.policy, granted.owner_revision, granted.binding_generation) == (
        stated["environment"], stated["policy"], stated["ownerRevision"], stated["bindingGeneration"]
    )  # fmt: skip
    assert (granted.issued_at, granted.expires_at, granted.length, granted.recording_generation) == (
        stated["issuedAt"], stated["expiresAt"], stated["ciphertextLength"], stated["recordingGeneration"]
    )  # fmt: skip
    assert (str(granted.session), str(granted.recording), granted.ciphertext_sha256.hex()) == (
        stated["sessionUuid"], stated["recordingUuid"], stated["ciphertextSha256Hex"]
    )  # fmt: skip
    expected = case["context"]
    assert (granted.tenant.hex(), granted.device.hex()) == (
        expected["expectedTenantContextDigestHex"],
        expected["expectedDeviceIdentityDigestHex"],
    )
    assert (granted.configuration.hex(), granted.staging.hex()) == (
        expected["expectedConfigurationDigestHex"],
        expected["expectedStagingObjectDigestHex"],
    )


def test_a_receipt_is_read_as_the_vector_says() -> None:
    document, case = given("completion-receipt"), CASES["completion-receipt"]
    receipt = read_receipt(document, public_keys({key_id(document, 28): PUBLIC_KEY}))
    stated = case["expected"]["normalized"]
    assert (receipt.environment, receipt.owner_revision, receipt.issued_at, receipt.expires_at) == (
        stated["environment"], stated["ownerRevision"], stated["issuedAt"], stated["expiresAt"]
    )  # fmt: skip
    assert (receipt.ciphertext_sha256.hex(), receipt.plaintext_sha256.hex()) == (
        stated["ciphertextSha256Hex"],
        stated["plaintextSha256Hex"],
    )
    assert (str(receipt.session), str(receipt.recording)) == (stated["sessionUuid"], stated["recordingUuid"])
    assert receipt.configuration.hex() == case["context"]["expectedConfigurationDigestHex"]


@pytest.mark.parametrize("name", ["authorization-high-s-signature", "receipt-altered-signature"])
def test_a_bad_signature_of_the_vectors_is_refused(name: str) -> None:
    document = given(name)
    read, at = (read_receipt, 28) if "receipt" in name else (read_authorization, 44)
    with pytest.raises(DeviceRefusal) as refusal:
        read(document, public_keys({key_id(document, at): PUBLIC_KEY}))
    assert refusal.value.code == RefusalCode.SIGNATURE


@pytest.mark.parametrize("name", ["authorization-production", "completion-receipt"])
def test_every_changed_byte_and_length_is_refused(name: str) -> None:
    document = given(name)
    read, at = (read_receipt, 28) if "receipt" in name else (read_authorization, 44)
    keys = public_keys({key_id(document, at): PUBLIC_KEY})
    read(document, keys)
    for place in range(len(document)):
        changed = bytearray(document)
        changed[place] ^= 1
        with pytest.raises(DeviceRefusal):
            read(bytes(changed), keys)
    for other in (document[:-1], document + b"\0", b""):
        with pytest.raises(DeviceRefusal) as refusal:
            read(other, keys)
        assert refusal.value.code == RefusalCode.LENGTH


def test_a_key_of_another_device_opens_nothing() -> None:
    sealed = seal_audio(b"x" * BLOCK, UUID_, 1, SealKeys(ROOT_KEY, DATA_KEY, bytes(12), bytes(12)))
    assert sealed.block_count == 1
    for other, root in (
        (sealed, bytes(32)),
        (replace(sealed, data=sealed.data[:80] + b"\0" + sealed.data[81:]), ROOT_KEY),
    ):
        with pytest.raises(DeviceRefusal, match="does not open"):
            data_key_of(other, root)


def test_a_serial_number_is_hashed_with_its_length() -> None:
    assert device_identity("ab") != device_identity("abc")
    assert recording_key(DATA_KEY, UUID_, 1, "x") != recording_key(DATA_KEY, UUID_, 2, "x")
