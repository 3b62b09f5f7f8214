"""One upload, sealed and signed with fixed keys: all of its documents, and how a server verifies each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple
from uuid import UUID

from lapel.slices.encrypted_uploads.documents import (
    digests,
    hpke,
    manifest,
    receipt,
    signatures,
    upload_authorization,
)
from lapel.slices.encrypted_uploads.documents.receipt import Receipt
from lapel.slices.encrypted_uploads.documents.stored_object.frame import SealedObject
from lapel.slices.encrypted_uploads.documents.stored_object.opener import ROOM, BlockOpener
from lapel.slices.encrypted_uploads.documents.upload_authorization import Authorization
from tests.support.device_sealing import BlockSealer, seal_manifest, wrap
from tests.support.device_verification import Expectations, verify_authorization, verify_receipt

NOW = 1_900_000_000
DATA_KEY = bytes(range(32))
RECIPIENT = bytes(range(32, 64))
SIGNING = signatures.private_key(bytes(range(64, 96)))
SESSION, RECIPIENT_KEY, RECORDING = (UUID(int=number) for number in (1, 2, 3))
PLAINTEXT = bytes(index % 251 for index in range(2 * 4096 + 100))


class Upload(NamedTuple):
    """Every document of one upload."""

    stored: bytes
    facts: SealedObject
    authorization: bytes
    manifest: bytes
    receipt: bytes


def sealed(
    plaintext: bytes, piece: int = 1_000_000, *, mode: Literal[1, 2] = 1
) -> tuple[bytes, SealedObject]:
    """(the stored object, its facts) of a plain text that is given in pieces. `mode`: 2 is streaming."""
    header = wrap(
        bytes(32),
        DATA_KEY,
        RECORDING,
        7,
        mode=mode,
        random=lambda length: bytes(range(200, 200 + length)),
    )
    sealer = BlockSealer(DATA_KEY, header)
    parts = [sealer.feed(plaintext[at : at + piece]) for at in range(0, len(plaintext), piece)]
    last, facts = sealer.finish()
    return b"".join((*parts, last)), facts


def opened(stored: bytes, data_key: bytes = DATA_KEY) -> tuple[bytes, SealedObject]:
    """(the plain text, the facts) of a stored object."""
    opener = BlockOpener(data_key, len(stored))
    plaintext = fed(opener, stored)
    return plaintext, opener.finish()


def fed(opener: BlockOpener, data: bytes) -> bytes:
    """The plain text that these bytes complete."""
    into = bytearray(len(data) + ROOM)
    return bytes(into[: opener.feed(data, into)])


@cache
def upload() -> Upload:
    """The documents, each for the others."""
    stored, facts = sealed(PLAINTEXT)
    authorization = upload_authorization.encode(authorized(facts), SIGNING)
    return Upload(
        stored=stored,
        facts=facts,
        authorization=authorization,
        manifest=seal_manifest(facts, DATA_KEY, authorization, ephemeral_key=bytes(range(96, 128))),
        receipt=receipt.encode(received(facts), SIGNING),
    )


def authorized(facts: SealedObject) -> Authorization:
    """The authorization of a stored object, without its signature."""
    return Authorization(
        environment=2,
        policy=1,
        channel_mask=7,
        flags=7,
        owner_revision=1,
        binding_generation=5,
        recording_generation=7,
        signing_key_id=11,
        policy_revision=2**63 + 1,
        issued_at=NOW - 10,
        expires_at=NOW + 10,
        minimum_length=facts.extent.ciphertext_length,
        maximum_length=facts.extent.ciphertext_length,
        session_uuid=SESSION,
        recipient_key_uuid=RECIPIENT_KEY,
        recording_uuid=RECORDING,
        device_nonce=b"n" * 16,
        recipient_public_key=hpke.public_key(RECIPIENT),
        tenant=digests.tenant("org", "project"),
        device=digests.device_identity("serial"),
        configuration=digests.configuration(b"{}"),
        staging=digests.staging_object(SESSION, "bucket", "staging/object"),
        ciphertext_sha256=facts.ciphertext_sha256,
    )


def received(facts: SealedObject) -> Receipt:
    """The receipt of a stored object, without its signature."""
    return Receipt(
        environment=2,
        owner_revision=1,
        binding_generation=5,
        recording_generation=7,
        signing_key_id=11,
        issued_at=NOW - 10,
        expires_at=NOW + 10,
        session_uuid=SESSION,
        recording_uuid=RECORDING,
        tenant=digests.tenant("org", "project"),
        device=digests.device_identity("serial"),
        ciphertext_sha256=facts.ciphertext_sha256,
        plaintext_sha256=hashlib.sha256(PLAINTEXT).digest(),
        publication=digests.publication("bucket", "media/object", hashlib.sha256(PLAINTEXT).digest()),
        configuration=digests.configuration(b"{}"),
    )


def expectations() -> Expectations:
    """What a device knows of its upload."""
    return Expectations(
        environment=2,
        session_uuid=SESSION,
        binding_generation=5,
        recording_uuid=RECORDING,
        recording_generation=7,
        device=digests.device_identity("serial"),
        ciphertext_sha256=upload().facts.ciphertext_sha256,
    )


def _verify_authorization(data: bytes) -> object:
    return verify_authorization(data, SIGNING.public_key(), now=NOW, expected=expectations())


def _verify_receipt(data: bytes) -> object:
    return verify_receipt(data, SIGNING.public_key(), now=NOW, expected=expectations())


def _verify_manifest(data: bytes) -> object:
    manifest.check(manifest.parse(data), upload().authorization)
    return manifest.open_key(data, RECIPIENT, upload().authorization)


def _verify_tag(data: bytes) -> object:
    return manifest.verify_tag(data, DATA_KEY)


# Name of a document to its bytes and the whole verification.
VERIFIED: dict[str, tuple[Callable[[], bytes], Callable[[bytes], object]]] = {
    "authorization": (lambda: upload().authorization, _verify_authorization),
    "receipt": (lambda: upload().receipt, _verify_receipt),
    "manifest": (lambda: upload().manifest, _verify_manifest),
    "manifest, key known": (lambda: upload().manifest, _verify_tag),
    "stored object": (lambda: sealed(b"short" * 20)[0], opened),
    "stored object, blocks": (lambda: upload().stored, opened),
}
