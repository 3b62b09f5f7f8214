"""`multipart/form-data`, read as it arrives: text fields are kept, files are passed on piece by piece.

Memory holds at most one block and the text fields, whatever a client sends; parsing runs in a thread.

Source: RFC 7578.

docs/decisions/0011 gives the reasons.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from lapel.foundation.core.asgi import ClientGone
from lapel.foundation.core.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType
from lapel.foundation.http.input.headers import refuse_other_characters
from lapel.foundation.http.input.unknown_fields import UnknownField

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lapel.foundation.core.asgi import Receive
    from lapel.foundation.http.input.decoding import QueryDecoder

S = TypeVar("S", bound=msgspec.Struct)
MAX_PARTS = 100
# Enough for any 20,000 characters.
MAX_FIELD_BYTES = 80 * 1024
_MAX_HEADERS = 8
_MAX_HEADER_BYTES = 4096
# Large enough that the switch of threads costs little in comparison.
_BLOCK_BYTES = 256 * 1024
_PLAIN_ENCODINGS = frozenset((b"7bit", b"8bit", b"binary"))

# The parser logs each wrong byte that a client sends.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class FormFile:
    """A file of an operation's form: 1 to `max_bytes` bytes, streamed and never held whole.

    The client's file name must end in `suffix`, in upper or lower case.
    """

    name: str
    suffix: str
    description: str
    max_bytes: int
    required: bool


@dataclass(frozen=True, slots=True)
class _Begin:
    name: str
    filename: str | None


@dataclass(frozen=True, slots=True)
class _End:
    pass


_Event: TypeAlias = "_Begin | _End | bytes"


class Form(Generic[S]):
    """One request's form. Read its files first; when `next_file` returns None, read its text fields.

    Reading raises InvalidRequest when the body is not a valid form or is cut off, PayloadTooLarge beyond a
    limit, and ClientGone when the client disconnects.
    """

    def __init__(
        self,
        receive: Receive,
        headers: Mapping[bytes, bytes],
        *,
        files: Iterable[FormFile],
        fields: QueryDecoder[S],
        field_bytes: int,
        strict: bool = False,
    ) -> None:
        """`field_bytes`: bytes that the form may have in addition to its files. `strict`: refuse a part with
        an unknown name, which is ignored otherwise.

        Raises UnsupportedMediaType when the request is not a form, PayloadTooLarge when its declared length
        is over the limit, and InvalidRequest when its boundary is missing or too long.
        """
        self.unknown: list[UnknownField] = []
        """The parts that were ignored."""
        self._strict = strict
        self._receive = receive
        self._fields = fields
        self._texts: dict[str, str] = {}
        self._files = {each.name: each for each in files}
        self._limit = field_bytes + sum(each.max_bytes for each in self._files.values())
        if int(headers.get(b"content-length", b"0")) > self._limit:
            raise self._too_large()
        self._parser = _Parser(_boundary(headers.get(b"content-type")))
        self._events: deque[_Event] = deque()
        self._received = 0
        self._receiving = False
        self._parts = 0
        self._more = True
        self._seen: set[str] = set()
        self._file: FormFile | None = None
        self._file_bytes = 0

    async def next_file(self) -> str | None:
        """The name of the next file's field; None when the form has ended.

        The unread rest of the previous file is skipped. Raises InvalidRequest also for too many parts, a
        field that is sent twice, a file without a file name, and a file name with another suffix.
        """
        while await self.read():
            pass
        while (event := await self._next()) is not None:
            if not isinstance(event, _Begin):
                continue  # the rest of a part that the operation ignores
            self._parts += 1
            if self._parts > MAX_PARTS:
                raise InvalidRequest(f"The form may have at most {MAX_PARTS} parts.")
            if event.name in self._seen:
                raise InvalidRequest(f"`{event.name}` was sent twice.", param=event.name)
            if event.name in self._files:
                self._seen.add(event.name)
                if event.filename is None:
                    raise InvalidRequest(f"`{event.name}` must be sent as a file.", param=event.name)
                file = self._files[event.name]
                if not event.filename.lower().endswith(file.suffix):
                    raise InvalidRequest(
                        f"The name of the file `{file.name}` must end in {file.suffix}.", param=file.name
                    )
                self._file, self._file_bytes = file, 0
                return file.name
            if event.name in self._fields.names:
                self._seen.add(event.name)
                self._texts[event.name] = await self._text(event.name)
            else:
                self._ignore(event.name)
        return None

    async def read(self) -> bytes:
        """The next piece of the file; empty at the end of the file.

        Raises InvalidRequest when the file is empty, and PayloadTooLarge when it is over its limit.
        """
        if self._file is None:
            return b""
        event = await self._next()
        if not isinstance(event, bytes):
            if not self._file_bytes:
                raise InvalidRequest(f"The file `{self._file.name}` is empty.", param=self._file.name)
            self._file = None
            return b""
        self._file_bytes += len(event)
        if self._file_bytes > self._file.max_bytes:
            raise PayloadTooLarge(
                f"`{self._file.name}` may have at most {self._file.max_bytes} bytes.", param=self._file.name
            )
        return event

    def moved(self) -> int | None:
        """Bytes that have arrived; None while the server works instead of waiting for the client."""
        return self._received if self._receiving else None

    def fields(self) -> S:
        """The text fields, once all files are read. Raises InvalidRequest for a field that is wrong."""
        return self._fields.of(self._texts)

    def _ignore(self, name: str) -> None:
        unknown = UnknownField(name, (*self._files, *self._fields.names))
        if self._strict:
            raise unknown.refusal()
        self.unknown.append(unknown)

    async def _text(self, name: str) -> str:
        content = bytearray()
        while isinstance(event := await self._next(), bytes):
            content += event
            if len(content) > MAX_FIELD_BYTES:
                raise InvalidRequest(f"`{name}` may have at most {MAX_FIELD_BYTES} bytes.", param=name)
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"`{name}` is not UTF-8.", param=name) from error

    async def _next(self) -> _Event | None:
        while not self._events:
            if not self._more:
                if not self._parser.ended:
                    raise InvalidRequest("The form ends before its last boundary: part of it is missing.")
                return None
            self._events.extend(await asyncio.to_thread(self._parser.feed, await self._block()))
        return self._events.popleft()

    async def _block(self) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while self._more and size < _BLOCK_BYTES:
            self._receiving = True
            message = await self._receive()
            self._receiving = False
            if message["type"] != "http.request":
                raise ClientGone
            piece = message.get("body", b"")
            self._more = message.get("more_body", False)
            pieces.append(piece)
            size += len(piece)
            self._received += len(piece)
        if self._received > self._limit:
            raise self._too_large()
        return b"".join(pieces)

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"The form may have at most {self._limit} bytes.")


class _Parser:
    """Turns the bytes of any form into events."""

    def __init__(self, boundary: bytes) -> None:
        self.ended = False
        self._events: list[_Event] = []
        self._pieces: list[bytes] = []
        self._headers: dict[bytes, bytes] = {}
        self._name = bytearray()
        self._value = bytearray()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header,
                    "on_headers_finished": self._head,
                    "on_part_data": self._data,
                    "on_part_end": self._end,
                    "on_end": self._finish,
                },
                max_header_count=_MAX_HEADERS,
                max_header_size=_MAX_HEADER_BYTES,
            )
        except FormParserError as error:
            raise InvalidRequest(
                "The boundary in `Content-Type` is too long.", param="Content-Type"
            ) from error

    def feed(self, block: bytes) -> list[_Event]:
        """The events of the next block, consecutive data in one piece. Raises InvalidRequest for a bad
        form."""
        try:
            self._parser.write(block)
        except FormParserError as error:
            raise InvalidRequest("The body is not valid multipart/form-data.") from error
        self._flush()
        events, self._events = self._events, []
        return events

    def _begin(self) -> None:
        self._headers = {}

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header(self) -> None:
        name = bytes(self._name).lower()
        if name in self._headers:
            raise InvalidRequest("A part of the form has two headers of one name.")
        self._headers[name] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _head(self) -> None:
        self._events.append(_describe(self._headers))

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def _end(self) -> None:
        self._flush()
        self._events.append(_End())

    def _finish(self) -> None:
        self.ended = True

    def _flush(self) -> None:
        if self._pieces:
            self._events.append(b"".join(self._pieces))
            self._pieces = []


def _describe(headers: Mapping[bytes, bytes]) -> _Begin:
    """The name and file name in a part's headers. Raises InvalidRequest."""
    kind, options = parse_options_header(headers.get(b"content-disposition"))
    name = options.get(b"name")
    if kind != b"form-data" or name is None:
        raise InvalidRequest("A part of the form has no `Content-Disposition: form-data` with a name.")
    if headers.get(b"content-type", b"").strip().lower().startswith(b"multipart/"):
        raise InvalidRequest("A form may not contain another form.")
    if headers.get(b"content-transfer-encoding", b"binary").strip().lower() not in _PLAIN_ENCODINGS:
        raise InvalidRequest("Send the parts of the form without a transfer encoding.")
    filename = options.get(b"filename")
    try:
        return _Begin(name.decode("utf-8"), None if filename is None else filename.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidRequest("A name in the form is not UTF-8.") from error


def _boundary(content_type: bytes | None) -> bytes:
    if content_type is not None:
        refuse_other_characters(content_type)
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise UnsupportedMediaType("Send the body as `Content-Type: multipart/form-data`.")
    boundary = options.get(b"boundary")
    if not boundary:
        raise InvalidRequest("`Content-Type` names no boundary.", param="Content-Type")
    return boundary
