"""What `lapel simulate` takes as the public keys of devices that encrypt."""

from __future__ import annotations

import pytest

from lapel.cli.commands.simulate import simulate
from lapel.cli.shared.faults import CommandError
from lapel.slices.encrypted_uploads.documents import signatures

NOBODY = "http://127.0.0.1:9"  # where no server is


def new_point() -> str:
    """A public key as `lapel signing-keys list` shows it."""
    key = signatures.private_key(signatures.new_private_key())
    return signatures.public_raw(key.public_key()).hex()


def said(signing_key: str | None, *, encrypted: bool = True) -> str:
    """Why the command does not begin."""
    with pytest.raises(CommandError) as refused:
        simulate(encrypted=encrypted, url=NOBODY, key="sk_test_x", signing_key=signing_key)
    return str(refused.value)


def test_public_keys_are_numbers_and_points() -> None:
    one, other = new_point(), new_point()
    for keys in (f"1:{one}", f"1:{one},2:{other}", f" 4294967295:{one.upper()} , 2:{other} "):
        assert "the server does not answer" in said(keys)


@pytest.mark.parametrize(
    "keys", ["", "1", "1:", ":{}", "one:{}", "1 {}", "1={}", "1:{}0", "1:{},", "1:{} 2:{}", "-1:{}", "²:{}"]
)
def test_any_other_text_is_refused(keys: str) -> None:
    assert "is not a number, a colon and 128 hexadecimal digits" in said(keys.replace("{}", new_point()))


def test_a_point_is_on_the_curve_and_a_number_has_one_key() -> None:
    assert "no public key of P-256" in said("1:" + "ab" * 64)
    assert "the key 1 twice" in said(f"1:{new_point()},01:{new_point()}")


def test_devices_that_encrypt_need_keys_and_others_take_none() -> None:
    assert "give them with --signing-key" in said(None)
    assert "add --encrypted" in said(f"1:{new_point()}", encrypted=False)
