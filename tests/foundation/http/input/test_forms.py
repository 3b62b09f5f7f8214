"""Forms as they arrive: in any pieces, from anybody."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Iterable
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.foundation.core.asgi import ClientGone
from lapel.foundation.core.errors import ApiError
from lapel.foundation.http.input.decoding import QueryDecoder
from lapel.foundation.http.input.forms import MAX_FIELD_BYTES, MAX_PARTS, Form, FormFile

BOUNDARY = "frontier"
KIB, MIB = 1 << 10, 1 << 20


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """What the forms here say."""

    name: Annotated[str, msgspec.Meta(max_length=100)]
    count: int | None = None
    yes: bool = False


FILES = (
    FormFile(name="bin", suffix=".bin", max_bytes=MIB, required=True, description="A file."),
    FormFile(name="ufw", suffix=".ufw", max_bytes=KIB, required=False, description="Another."),
)


def part(name: str, content: bytes, *lines: str, filename: str | None = None) -> bytes:
    more = "" if filename is None else f'; filename="{filename}"'
    head = [f'Content-Disposition: form-data; name="{name}"{more}', *lines]
    return "\r\n".join([f"--{BOUNDARY}", *head, "", ""]).encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
NAME = part("name", b"Jane")


class Sent:
    """The pieces of a body, as the server gets them."""

    def __init__(self, pieces: Iterable[bytes], *, hangs_up: bool = False) -> None:
        self._pieces = iter(pieces)
        self._hangs_up = hangs_up

    async def __call__(self) -> dict[str, Any]:
        piece = next(self._pieces, None)
        if piece is None and self._hangs_up:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}


def form(sent: Sent, content_type: str | None = None, **headers: str) -> Form[Text]:
    given = {b"content-type": (content_type or f"multipart/form-data; boundary={BOUNDARY}").encode()}
    given |= {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return Form(sent, given, files=FILES, fields=QueryDecoder(Text), field_bytes=MIB)


async def contents(read: Form[Text]) -> tuple[dict[str, bytes], Text]:
    files: dict[str, bytes] = {}
    while (found := await read.next_file()) is not None:
        files[found] = b"".join([piece async for piece in pieces(read)])
    return files, read.fields()


async def pieces(read: Form[Text]) -> AsyncIterator[bytes]:
    while piece := await read.read():
        yield piece


async def refusal(body: bytes | Iterable[bytes], content_type: str | None = None, **headers: str) -> str:
    """What is said of a form that is refused: status and message."""
    sent = Sent([body] if isinstance(body, bytes) else body)
    with pytest.raises(ApiError) as caught:
        await contents(form(sent, content_type, **headers))
    return f"{caught.value.status} {caught.value.message}"


async def test_files_and_fields_in_any_order() -> None:
    one, two = os.urandom(MIB), b"x--frontier\r\n--frontie"
    body = (
        part("count", b"7") + part("bin", one, filename="a.bin") + NAME + part("ufw", two, filename="b.UFW")
    )
    read = form(Sent([body + part("yes", b"true") + END + b"epilogue"]))
    assert await contents(read) == (
        {"bin": one, "ufw": two},
        Text(name="Jane", count=7, yes=True),
    )


@given(data=st.data(), content=st.binary(max_size=300), size=st.integers(1, 80))
def test_the_pieces_in_which_it_comes_change_nothing(data: st.DataObject, content: bytes, size: int) -> None:
    looks = data.draw(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n--", b"--frontier", b"-", content])))
    content = b"".join(looks)
    body = b"\r\n" + part("bin", content, filename="é.bin") + part("other", b"?" * size) + NAME + END
    if not content or b"\r\n--frontier" in b"\r\n" + content:
        return  # then it is no content
    sent = Sent(body[at : at + size] for at in range(0, len(body), size))
    files, text = asyncio.run(contents(form(sent)))
    assert (files, text) == ({"bin": content}, Text(name="Jane"))


async def test_unknown_fields_and_files_are_passed_over() -> None:
    body = part("colour", b"red") + part("photo", b"x" * 5000, filename="x.jpg") + NAME + END
    assert await contents(form(Sent([body]))) == ({}, Text(name="Jane"))


async def test_a_file_that_nobody_reads_is_skipped() -> None:
    read = form(Sent([part("bin", os.urandom(500 * KIB), filename="a.bin"), NAME, END]))
    assert await read.next_file() == "bin"
    assert await read.next_file() is None
    assert read.fields() == Text(name="Jane")


NAMELESS = "400 A part of the form has no `Content-Disposition: form-data` with a name."
NESTED = "400 A form may not contain another form."
INVALID = "400 The body is not valid multipart/form-data."
TWICE = "400 A part of the form has two headers of one name."
BIN = part("bin", b"abc", filename="a.bin")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "400 The form ends before its last boundary"),
        (NAME, "400 The form ends before its last boundary"),
        (BIN[:-4], "400 The form ends before its last boundary"),
        (NAME + END[:-3], "400 The form ends before its last boundary"),
        (b"hello", "400 The body is not valid multipart/form-data."),
        (b"--border\r\n", "400 The body is not valid multipart/form-data."),
        (b"--frontier\r\n\r\nno headers\r\n" + END, NAMELESS),
        (BIN.replace(b"form-data", b"attachment") + END, NAMELESS),
        (BIN.replace(b'name="bin"; ', b"") + END, NAMELESS),
        (BIN.replace(b": form-data", b" form-data") + END, "400 The body is not valid multipart/form-data."),
        (BIN + BIN + END, "400 `bin` was sent twice."),
        (NAME + NAME + END, "400 `name` was sent twice."),
        (part("bin", b"abc") + END, "400 `bin` must be sent as a file."),
        (part("bin", b"", filename="a.bin") + END, "400 The file `bin` is empty."),
        (part("bin", b"abc", filename="") + END, "400 The name of the file `bin` must end in .bin."),
        (part("bin", b"abc", filename="bin") + END, "400 The name of the file `bin` must end in .bin."),
        (part("name", b"\xff") + END, "400 `name` is not UTF-8."),
        (part("name", b"a\0b") + END, "400 Strings may not contain NUL characters."),
        (part("name", b"x" * 101) + END, "400 `name` must have at most 100 characters."),
        (NAME + part("count", b"many") + END, "400 `count`: Expected integer"),
        (NAME + part("yes", b"perhaps") + END, "400 `yes`: Expected boolean"),
        (BIN + END, "400 `name` is required."),
        (BIN.replace(b"a.bin", b"\xff") + END, "400 A name in the form is not UTF-8."),
        (part("bin", b"", "Content-Type: multipart/mixed; boundary=x", filename="a.bin") + END, NESTED),
        (part("bin", b"", "Content-Transfer-Encoding: base64", filename="a.bin") + END, "400 Send the parts"),
        (part("bin", b"", "Content-Disposition: form-data; name=x", filename="a.bin") + END, TWICE),
        (part("bin", b"", *[f"X-{n}: 1" for n in range(8)], filename="a.bin") + END, INVALID),
        (part("bin", b"", "X: " + "x" * 5000, filename="a.bin") + END, "400 The body is not valid multipart"),
        (b"--frontier\r\n" + b"x" * MIB, "400 The body is not valid multipart/form-data."),
        (b"--frontier\r\nX: " + b"x" * MIB, "400 The body is not valid multipart/form-data."),
        (part("name", b"x" * (MAX_FIELD_BYTES + 1)) + END, "400 `name` may have at most 81920 bytes."),
        (part("other", b"") * (MAX_PARTS + 1) + END, "400 The form may have at most 100 parts."),
        (part("other", b"") * 100_000, "413 The form may have at most"),
        (part("bin", b"x" * (MIB + 1), filename="a.bin") + END, "413 `bin` may have at most 1048576 bytes."),
        (part("ufw", b"x" * (KIB + 1), filename="a.ufw") + END, "413 `ufw` may have at most 1024 bytes."),
        (part("other", b"x" * 3 * MIB, filename="a.bin") + END, "413 The form may have"),
    ],
)  # fmt: skip
async def test_what_is_no_form_is_refused(body: bytes, message: str) -> None:
    said = await refusal(body)
    assert said.startswith(message), said


@pytest.mark.parametrize(
    ("content_type", "message"),
    [
        ("application/json", "415 Send the body as `Content-Type: multipart/form-data`."),
        ("multipart/mixed; boundary=frontier", "415 Send the body as"),
        ("multipart/form-data", "400 `Content-Type` names no boundary."),
        ("multipart/form-data; boundary=x\xa0", "400 A `Content-Type` has only characters of ASCII."),
        ("multipart/form-data; boundary=", "400 `Content-Type` names no boundary."),
        ("multipart/form-data; boundary=" + "x" * 300, "400 The boundary in `Content-Type` is too long."),
        ("multipart/form-data; boundary=other", "400 The body is not valid multipart/form-data."),
    ],
)
async def test_the_content_type_must_be_of_a_form(content_type: str, message: str) -> None:
    said = await refusal(NAME + END, content_type)
    assert said.startswith(message), said


async def test_too_many_parts_are_refused_early() -> None:
    taken = 0

    def endless() -> Iterable[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield part("other", b"") * 10

    assert (await refusal(endless())).startswith(("400 The form may have at most 100 parts.", "413"))
    assert taken < 1000


async def test_a_length_over_the_limit_is_refused_unread() -> None:
    def untouched() -> Iterable[bytes]:
        raise AssertionError("read")
        yield b""

    assert (await refusal(untouched(), content_length=str(2**31))).startswith("413 The form may have at most")


async def test_without_end_it_is_refused_in_bounded_memory() -> None:
    """A gigabyte, of which no more than the limit is looked at, and no more than a block is held."""
    piece, taken = bytes(64 * KIB), 0

    def endless() -> Iterable[bytes]:
        nonlocal taken
        yield f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="bin"; filename="a.bin"\r\n\r\n'.encode()
        while True:
            taken += len(piece)
            yield piece

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (await refusal(endless())).startswith("413 `bin` may have at most 1048576 bytes.")
    assert taken < 2 * MIB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * KIB


async def test_who_hangs_up_is_gone() -> None:
    with pytest.raises(ClientGone):
        await contents(form(Sent([NAME, BIN[:-9]], hangs_up=True)))
