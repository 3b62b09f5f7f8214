"""Signatures of grants: from the secret alone, the same every time."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from lapel.foundation.identity import signing

OLD, NEW = "the-old-secret-of-this-installation", "the-new-secret-of-this-installation"


class Claims(msgspec.Struct):
    """Something to sign."""

    text: str
    params: msgspec.Raw = msgspec.Raw(b"{}")


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def public(key: signing.PublicKey) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(decoded(key.x))


@given(st.text())
def test_what_is_signed_verifies_and_is_always_the_same(text: str) -> None:
    signer = signing.signer(NEW, None)
    token = signer.sign(Claims(text))
    assert token == signing.signer(NEW, OLD).sign(Claims(text))
    head, payload, signature = token.split(".")
    public(signer.key_set.keys[0]).verify(decoded(signature), f"{head}.{payload}".encode())
    assert json.loads(decoded(payload)) == {"text": text, "params": {}}


def test_what_was_stored_as_json_is_signed_as_it_is() -> None:
    token = signing.signer(NEW, None).sign(Claims("", msgspec.Raw(b'{"a": 1e2}')))
    assert b'{"a": 1e2}' in decoded(token.split(".")[1])


def test_each_secret_has_its_key_and_the_previous_one_is_shown_second() -> None:
    old, new, both = signing.signer(OLD, None), signing.signer(NEW, None), signing.signer(NEW, OLD)
    assert both.key_set.keys == [*new.key_set.keys, *old.key_set.keys]
    head, payload, signature = both.sign(Claims("a")).split(".")
    assert json.loads(decoded(head))["kid"] == new.key_set.keys[0].kid
    with pytest.raises(InvalidSignature):
        public(old.key_set.keys[0]).verify(decoded(signature), f"{head}.{payload}".encode())


def test_a_keys_id_is_its_thumbprint_as_rfc_8037_prints_it() -> None:
    private = Ed25519PrivateKey.from_private_bytes(decoded("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"))
    key = signing._public_key(private)
    assert key.x == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert key.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
