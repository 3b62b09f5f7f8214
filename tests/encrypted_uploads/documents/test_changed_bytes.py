"""No document with a changed byte is accepted, and no bytes at all make a parser fail."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lapel.slices.encrypted_uploads.documents import capabilities, manifest, receipt, upload_authorization
from lapel.slices.encrypted_uploads.documents.failures import Refused
from lapel.slices.encrypted_uploads.documents.stored_object import frame
from lapel.slices.encrypted_uploads.documents.stored_object.opener import BlockOpener
from tests.encrypted_uploads.documents.samples import DATA_KEY, VERIFIED, fed, upload

CAPABILITIES = bytes.fromhex("010218007f00000000040004f40010000800000010000000")


def feed_all(data: bytes) -> object:
    opener = BlockOpener(DATA_KEY, len(data))
    fed(opener, data)
    return opener.finish()


def feed_trailer(data: bytes) -> object:
    return frame.parse_trailer(data, upload().facts.header, upload().facts.extent)


def unseal(data: bytes) -> object:
    return manifest.open_key(data, DATA_KEY, data)


# Name of a parser to a document that it accepts, and the parser.
PARSERS: dict[str, tuple[Callable[[], bytes], Callable[[bytes], object]]] = {
    "authorization": (lambda: upload().authorization, upload_authorization.parse),
    "manifest": (lambda: upload().manifest, manifest.parse),
    "receipt": (lambda: upload().receipt, receipt.parse),
    "header": (lambda: upload().stored[:128], frame.parse_header),
    "trailer": (lambda: upload().stored[-144:], feed_trailer),
    "capabilities": (lambda: CAPABILITIES, capabilities.parse),
}
ANYTHING = {name: parser for name, (_, parser) in PARSERS.items()} | {
    "stored object": feed_all,
    "envelope": unseal,
}


@pytest.mark.parametrize("name", VERIFIED)
def test_a_changed_byte_is_refused_wherever_it_is(name: str) -> None:
    make, verify = VERIFIED[name]
    data = make()
    verify(data)
    for at in range(len(data)):
        for mask in (0x01, 0x80, 0xFF) if len(data) < 1000 else (0x10,):
            changed = bytearray(data)
            changed[at] ^= mask
            with pytest.raises(Refused):
                verify(bytes(changed))


@pytest.mark.parametrize("name", VERIFIED)
@given(random=st.data())
def test_changed_bytes_are_refused(name: str, random: st.DataObject) -> None:
    make, verify = VERIFIED[name]
    data = make()
    at = st.integers(0, len(data) - 1)
    changes = random.draw(st.dictionaries(at, st.integers(1, 255), min_size=1, max_size=4))
    changed = bytearray(data)
    for index, mask in changes.items():
        changed[index] ^= mask
    with pytest.raises(Refused):
        verify(bytes(changed))


@pytest.mark.parametrize("name", PARSERS)
def test_another_length_is_refused(name: str) -> None:
    make, parse = PARSERS[name]
    data = make()
    parse(data)
    for other in (data[:-1], data + b"\0", data[:12], data[:11], b"", data + data):
        with pytest.raises(Refused) as refused:
            parse(other)
        assert refused.value.reason == "invalid_length"


@pytest.mark.parametrize("name", [each for each in PARSERS if each != "capabilities"])
@pytest.mark.parametrize(
    ("at", "reason"),
    [(0, "invalid_magic"), (7, "invalid_magic"), (8, "unsupported_version"), (10, "invalid_length")],
)
def test_the_right_length_with_another_beginning_is_refused(name: str, at: int, reason: str) -> None:
    make, parse = PARSERS[name]
    changed = bytearray(make())
    changed[at] ^= 0x01
    with pytest.raises(Refused) as refused:
        parse(bytes(changed))
    assert refused.value.reason == reason


@pytest.mark.parametrize("name", ANYTHING)
@given(st.binary(max_size=600))
@example(bytes(408))
@example(b"BOTAENC2" + bytes(400))
def test_any_bytes_are_refused_and_nothing_else(name: str, data: bytes) -> None:
    with pytest.raises(Refused):
        ANYTHING[name](data)


@pytest.mark.parametrize("name", PARSERS)
@given(random=st.data())
def test_a_parser_of_changed_documents_raises_nothing_else(name: str, random: st.DataObject) -> None:
    make, parse = PARSERS[name]
    changed = bytearray(make())
    for _ in range(random.draw(st.integers(1, 6))):
        changed[random.draw(st.integers(0, len(changed) - 1))] = random.draw(st.integers(0, 255))
    with contextlib.suppress(Refused):
        parse(bytes(changed))
