"""A stored object opens however its bytes arrive, in the stated order of checks, with constant memory."""

from __future__ import annotations

import hashlib
import struct
import tracemalloc
from typing import Any

import msgspec
import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from lapel.slices.encrypted_uploads.documents import digests
from lapel.slices.encrypted_uploads.documents.failures import Refused
from lapel.slices.encrypted_uploads.documents.stored_object import frame
from lapel.slices.encrypted_uploads.documents.stored_object.opener import ROOM, BlockOpener
from tests.encrypted_uploads.documents.samples import (
    DATA_KEY,
    PLAINTEXT,
    RECORDING,
    fed,
    opened,
    sealed,
    upload,
)
from tests.support.device_sealing import BlockSealer, extent_of_plaintext, unwrap, wrap


def retrailed(stored: bytes, body: bytes | None = None, **changes: Any) -> bytes:
    """The object with another body or trailer, whose tag is that of its data key."""
    body = stored[:-144] if body is None else body
    trailer = frame.parse_trailer(stored[-144:], upload().facts.header, upload().facts.extent)
    fields = {"body_sha256": hashlib.sha256(body).digest(), **changes}
    start = frame.TRAILER.pack(msgspec.structs.replace(trailer, **fields))[:-32]
    return body + start + digests.trailer_tag(DATA_KEY, RECORDING, 7, start)


def reason_of(stored: bytes, data_key: bytes = DATA_KEY) -> str:
    with pytest.raises(Refused) as refused:
        opened(stored, data_key)
    return refused.value.reason


@given(
    st.integers(1, 3 * 4096 + 1), st.integers(1, 9000), st.lists(st.integers(1, 6000), min_size=1, max_size=9)
)
def test_pieces_of_any_length_give_the_same_object_and_the_same_plain_text(
    length: int, piece: int, pieces: list[int]
) -> None:
    plaintext = PLAINTEXT[:length]
    stored, facts = sealed(plaintext, piece)
    assert (stored, facts) == sealed(plaintext)
    opener, found, at = BlockOpener(DATA_KEY, len(stored)), b"", 0
    while at < len(stored):
        for each in pieces:
            found += fed(opener, stored[at : at + each])
            at += each
    assert found == plaintext
    assert opener.finish() == facts


@pytest.mark.parametrize("length", [1, 4095, 4096, 4097, 8192])
def test_one_byte_at_a_time(length: int) -> None:
    stored, facts = sealed(PLAINTEXT[:length])
    opener = BlockOpener(DATA_KEY, len(stored))
    found = b"".join(fed(opener, bytes([each])) for each in stored)
    assert (found, opener.finish()) == (PLAINTEXT[:length], facts)


def test_large_pieces() -> None:
    stored, facts = sealed(PLAINTEXT * 60)
    opener = BlockOpener(DATA_KEY, len(stored))
    parts = [fed(opener, stored[at : at + 200_000]) for at in range(0, len(stored), 200_000)]
    assert (b"".join(parts), opener.finish()) == (PLAINTEXT * 60, facts)


def test_memory_does_not_grow_with_the_object() -> None:
    piece = bytes(65_536)
    seal = BlockSealer(DATA_KEY, upload().facts.header)
    opener = BlockOpener(DATA_KEY, extent_of_plaintext(32 * len(piece)).ciphertext_length)
    into = bytearray(len(piece) + 2 * ROOM)
    tracemalloc.start()
    for _ in range(32):
        opener.feed(seal.feed(piece), into)
    opener.feed(seal.finish()[0], into)
    opener.finish()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * len(piece)


def test_a_changed_block_is_found_by_the_hash_of_the_body() -> None:
    stored = bytearray(upload().stored)
    stored[128 + 4 + 4096] ^= 1
    assert reason_of(bytes(stored)) == "digest_mismatch"


def test_the_hash_of_the_body_is_checked_before_the_tag_of_the_trailer() -> None:
    stored = bytearray(upload().stored)
    stored[200] ^= 1
    stored[-1] ^= 1
    assert reason_of(bytes(stored)) == "digest_mismatch"


def test_another_data_key_fails_at_the_tag_of_the_trailer() -> None:
    assert reason_of(upload().stored, bytes(32)) == "authentication_failed"


def test_a_block_that_the_key_did_not_seal_is_refused_although_its_hash_is_right() -> None:
    body = bytearray(upload().stored[:-144])
    body[128 + 4] ^= 1
    stored = retrailed(upload().stored, bytes(body))
    opener = BlockOpener(DATA_KEY, len(stored))
    assert fed(opener, stored[: 128 + 4116]) == b""
    assert fed(opener, stored[128 + 4116 :]) == b""  # right blocks after a wrong one are not given out
    with pytest.raises(Refused) as refused:
        opener.finish()
    assert refused.value.reason == "authentication_failed"


def test_a_missing_block_is_refused_although_the_hash_is_that_of_what_was_given_out() -> None:
    body = bytearray(upload().stored[:-144])
    body[128 + 4] ^= 1
    nothing = hashlib.sha256(b"").digest()
    assert (
        reason_of(retrailed(upload().stored, bytes(body), plaintext_sha256=nothing))
        == "authentication_failed"
    )


def test_blocks_do_not_change_their_places() -> None:
    stored = upload().stored
    first, second = stored[128 : 128 + 4116], stored[128 + 4116 : 128 + 2 * 4116]
    body = stored[:128] + second + first + stored[128 + 2 * 4116 : -144]
    assert reason_of(retrailed(stored, body)) == "authentication_failed"


def test_another_hash_of_the_plain_text_is_refused_although_its_tag_is_right() -> None:
    assert reason_of(retrailed(upload().stored, plaintext_sha256=bytes(32))) == "authentication_failed"


def test_trailers_that_the_key_sealed_are_of_the_right_sizes() -> None:
    stored = upload().stored
    assert opened(retrailed(stored))[0] == PLAINTEXT
    for name, value in (("block_count", 2), ("plaintext_length", 1), ("body_length", 0)):
        changes: dict[str, Any] = {name: value}
        assert reason_of(retrailed(stored, **changes)) == "invalid_length"
    assert reason_of(retrailed(stored, mode=2)) == "noncanonical_encoding"


@pytest.mark.parametrize("length", [0, 1, 4095, 4097, 65_535])
def test_a_block_of_another_length_than_its_place_has_is_refused(length: int) -> None:
    stored = upload().stored
    body = stored[:128] + struct.pack("<H", length) + stored[130:-144]
    assert reason_of(retrailed(stored, body)) == "invalid_length"


def test_too_few_and_too_many_bytes_are_refused() -> None:
    stored = upload().stored
    opener = BlockOpener(DATA_KEY, len(stored))
    fed(opener, stored[:-1])
    with pytest.raises(Refused) as refused:
        opener.finish()
    assert refused.value.reason == "invalid_length"
    with pytest.raises(Refused) as refused:
        fed(opener, stored[-1:] + b"\0")
    assert refused.value.reason == "invalid_length"


@pytest.mark.parametrize("length", [-1, 0, 272, 292, 272 + 4116 + 1, 272 + 4116 + 20, 2**63])
def test_no_object_has_this_length(length: int) -> None:
    with pytest.raises(Refused) as refused:
        BlockOpener(DATA_KEY, length)
    assert refused.value.reason == "invalid_length"


@given(st.integers(1, 2**40))
def test_lengths_of_plain_text_and_of_object_determine_each_other(length: int) -> None:
    extent = extent_of_plaintext(length)
    assert extent.ciphertext_length == length + 272 + 20 * extent.block_count
    assert frame.extent_of_ciphertext(extent.ciphertext_length) == extent


def test_an_empty_plain_text_is_not_sealed() -> None:
    with pytest.raises(ValueError, match="between one"):
        BlockSealer(DATA_KEY, upload().facts.header).finish()


def test_a_wrapped_key_opens_with_the_root_key_of_its_device() -> None:
    header = wrap(b"r" * 32, DATA_KEY, RECORDING, 7)
    assert unwrap(b"r" * 32, header) == DATA_KEY
    with pytest.raises(InvalidTag):
        unwrap(b"s" * 32, header)
    other = wrap(b"r" * 32, DATA_KEY, RECORDING, 7)
    assert (header.nonce_base, header.wrap_nonce) != (other.nonce_base, other.wrap_nonce)
