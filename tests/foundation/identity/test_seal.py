"""What must be read again is sealed; nothing opens it but the right secret and the right place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.foundation.identity import seal
from lapel.foundation.identity.seal import SealBroken

OLD, NEW = "the-old-secret-of-this-installation", "the-new-secret-of-this-installation"


@given(st.binary(max_size=300), st.binary(max_size=50))
def test_what_is_sealed_opens_again(plain: bytes, context: bytes) -> None:
    sealer = seal.sealer(NEW, None)
    sealed = sealer.seal(plain, context)
    assert sealer.open(sealed, context) == plain
    assert len(sealed) == len(plain) + 29
    assert sealer.seal(plain, context) != sealed


@given(st.data())
def test_any_change_is_noticed(data: st.DataObject) -> None:
    sealer = seal.sealer(NEW, None)
    sealed = bytearray(sealer.seal(b"an answer with a token in it", b"here"))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(SealBroken):
        sealer.open(bytes(sealed), b"here")


@pytest.mark.parametrize("length", [0, 1, 12, 13, 28])
def test_cut_bytes_do_not_open(length: int) -> None:
    sealer = seal.sealer(NEW, None)
    with pytest.raises(SealBroken):
        sealer.open(sealer.seal(b"plain", b"here")[:length], b"here")


def test_it_opens_in_its_own_place_only() -> None:
    sealer = seal.sealer(NEW, None)
    with pytest.raises(SealBroken):
        sealer.open(sealer.seal(b"plain", b"world 1"), b"world 2")


def test_a_rotation_reads_the_old_and_writes_the_new() -> None:
    before, during, after = seal.sealer(OLD, None), seal.sealer(NEW, OLD), seal.sealer(NEW, None)
    old = before.seal(b"plain", b"here")
    assert during.open(old, b"here") == b"plain"
    assert after.open(during.seal(b"plain", b"here"), b"here") == b"plain"
    with pytest.raises(SealBroken):
        after.open(old, b"here")


def test_keys_for_different_purposes_differ() -> None:
    assert len(seal.derive(NEW, "seal")) == 32
    assert len({seal.derive(NEW, "seal"), seal.derive(NEW, "token-pepper"), seal.derive(OLD, "seal")}) == 3


def test_the_hasher_finds_by_the_old_secret_while_it_is_rotated() -> None:
    before, during = seal.token_hasher(OLD, None), seal.token_hasher(NEW, OLD)
    assert during.candidates("sk_live_x") == [during.hash("sk_live_x"), before.hash("sk_live_x")]
