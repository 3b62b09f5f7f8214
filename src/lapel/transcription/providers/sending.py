"""Files on their way to a provider: read from disk piece by piece, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol

import aiohttp

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

    from lapel.transcription.providers.protocol import Clip

_CHUNK = 256 * 1024
_BYTES = "application/octet-stream"
# What a recording's type is called elsewhere, and the end of a file's name that fits it.
_NAMES = {
    "audio/opus": ("audio/ogg", "ogg"),
    "audio/ogg": ("audio/ogg", "ogg"),
    "audio/wav": ("audio/wav", "wav"),
    "audio/mpeg": ("audio/mpeg", "mp3"),
    "audio/mp4": ("audio/mp4", "m4a"),
    "audio/x-m4a": ("audio/mp4", "m4a"),
    "audio/webm": ("audio/webm", "webm"),
    "audio/flac": ("audio/flac", "flac"),
    "audio/aac": ("audio/aac", "aac"),
}


class Watch(Protocol):
    """Hears how sending goes on."""

    def moved(self) -> None:
        """Some of it was sent."""
        ...

    def sent(self) -> None:
        """All of it was sent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file to send. `fields`: those of a form in which it is `file`; without them it is the whole body.

    `report` hears how much of it is sent, 0 to 1.
    """

    path: Path
    content_type: str
    file_name: str
    report: Callable[[float], None]
    fields: Sequence[tuple[str, str]] | None = None


def upload_of(
    clip: Clip,
    report: Callable[[float], None],
    fields: Sequence[tuple[str, str]] | None = None,
    *,
    as_bytes: bool = False,
) -> Upload:
    """The recording's file as it was uploaded. `as_bytes`: without its type, which the receiver detects."""
    content_type, ending = _NAMES.get(clip.content_type, (_BYTES, "bin"))
    return Upload(
        path=clip.file,
        content_type=_BYTES if as_bytes else content_type,
        file_name=f"recording.{ending}",
        report=report,
        fields=fields,
    )


async def body_of(upload: Upload, watch: Watch) -> aiohttp.Payload:
    """What aiohttp sends, of known length: many services take no chunked bodies. Raises OSError."""
    size = (await asyncio.to_thread(upload.path.stat)).st_size
    file = _File(upload, size, watch)
    if upload.fields is None:
        return file
    # Names and values are ours, and some services do not undo the quoting of `[]`.
    form = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    for name, value in upload.fields:
        form.add_field(name, value)
    form.add_field("file", file, filename=upload.file_name)
    return form()


class _File(aiohttp.Payload):
    """The bytes of a file; never more than one chunk of them in memory."""

    def __init__(self, upload: Upload, size: int, watch: Watch) -> None:
        super().__init__(upload.path, content_type=upload.content_type)
        self._size = size
        self._upload = upload
        self._watch = watch

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> NoReturn:  # noqa: ARG002
        """Never asked for. Raises TypeError."""
        raise TypeError("a file is sent as it is")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the file. Raises OSError when it became shorter meanwhile."""
        size, sent = self._size or 0, 0
        while sent < size:
            # It is open only within the thread, so that a call that is cancelled leaves nothing open.
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
