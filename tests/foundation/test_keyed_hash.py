"""HMAC-SHA256 under a kept key equals the standard library's."""

from __future__ import annotations

import hmac

from hypothesis import given
from hypothesis import strategies as st

from lapel.foundation.keyed_hash import KeyedHash


@given(key=st.binary(max_size=200), messages=st.lists(st.binary(max_size=300), min_size=1, max_size=3))
def test_every_message_has_the_hash_of_the_standard_library(key: bytes, messages: list[bytes]) -> None:
    keyed = KeyedHash(key)
    assert [keyed.digest(each) for each in messages] == [
        hmac.digest(key, each, "sha256") for each in messages
    ]
