"""Sends files to a provider: they are read from disk in chunks, and progress is reported.

A form is multipart/form-data (RFC 7578), written by aiohttp. The file in the form is a `_FormFile`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol

import aiohttp

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

_CHUNK = 256 * 1024


class Watch(Protocol):
    """Is informed of the progress of sending."""

    def moved(self) -> None:
        """Part of the file was sent."""
        ...

    def sent(self) -> None:
        """The whole file was sent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FileUpload:
    """A file to send. `fields`: the other fields of a form whose field `file` is this file.

    If `fields` is None, the file is the whole body. `report` is called with the share of the file that is
    sent, 0 to 1.
    """

    path: Path
    content_type: str
    file_name: str
    report: Callable[[float], None]
    fields: Sequence[tuple[str, str]] | None = None


async def body_of(upload: FileUpload, watch: Watch) -> aiohttp.Payload:
    """The payload for aiohttp. Its length is known, because many services accept no chunked bodies.

    Raises OSError when the file cannot be read.
    """
    size = (await asyncio.to_thread(upload.path.stat)).st_size
    file = _FormFile(upload, size, watch)
    if upload.fields is None:
        return file
    # No quoting: some services do not decode a quoted `[]`, and Lapel itself sets all names and values.
    form = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    for name, value in upload.fields:
        form.add_field(name, value)
    form.add_field("file", file, filename=upload.file_name)
    return form()


class _FormFile(aiohttp.Payload):
    """The bytes of a file; at most one chunk of them is in memory."""

    def __init__(self, upload: FileUpload, size: int, watch: Watch) -> None:
        super().__init__(upload.path, content_type=upload.content_type)
        self._size = size
        self._upload = upload
        self._watch = watch

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> NoReturn:  # noqa: ARG002
        """Not supported and never called by aiohttp for this payload. Raises TypeError."""
        raise TypeError("a file is sent as it is")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the file. Raises OSError when the file cannot be read, or has become shorter meanwhile."""
        size, sent = self._size or 0, 0
        while sent < size:
            # The file is open only inside the thread, so that a cancelled call leaves no open file.
            chunk = await asyncio.to_thread(_part, self._upload.path, sent, min(_CHUNK, size - sent))
            if not chunk:
                raise OSError("the file became shorter while it was sent")
            await writer.write(chunk)
            sent += len(chunk)
            self._watch.moved()
            self._upload.report(sent / size)
        self._watch.sent()


def _part(path: Path, start: int, size: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        return file.read(size)
