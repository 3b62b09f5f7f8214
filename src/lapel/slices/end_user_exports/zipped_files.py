"""Turns the files of an export into the bytes of a zip, with a manifest as the last file.

Whatever the number and the size of the files, only one piece of a file is in memory. Hashes and compression
of pieces that are not small are computed in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.errors import NotFound
from lapel.foundation.http.large_responses import PIECE
from lapel.foundation.storage.errors import ObjectCut, ObjectMissing
from lapel.slices.end_user_exports.wire import ExportedFile, LeftOut
from lapel.slices.end_user_exports.zip_writer import ZipWriter

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.slices.end_user_exports.wire import ExportHead
    from lapel.slices.end_user_exports.zip_writer import WrittenFile

MANIFEST = "manifest.json"
DELETED = "deleted while the export was made"
MISSING = "the object store has no such object"
CUT = "the object in the store is shorter than it was when it was uploaded"

_REASONS: dict[type[Exception], str] = {NotFound: DELETED, ObjectMissing: MISSING, ObjectCut: CUT}

# Bytes of a temporary file that stay in memory.
_IN_MEMORY = 256 * 1024
# A smaller piece is hashed and compressed at once: that takes less than half a millisecond.
_SMALL = 16 * 1024
# Small pieces are joined until they have this many bytes.
_JOINED = 128 * 1024
_READ_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class FileToExport:
    """A file of an export.

    `pieces` raises NotFound or ObjectMissing if the data is gone, and ObjectCut if a part of it is gone.
    `deflated`: audio is not, because it is compressed already.
    """

    path: str
    pieces: AsyncGenerator[bytes]
    deflated: bool = True


async def zipped(
    files: AsyncGenerator[FileToExport], head: ExportHead, now: datetime
) -> AsyncGenerator[bytes]:
    """The bytes of the zip, at most `PIECE` bytes at a time. Raises what `files` and their pieces raise,
    except for NotFound, ObjectMissing and ObjectCut of pieces: the manifest names these files."""
    with (
        SpooledTemporaryFile(_IN_MEMORY) as directory,
        SpooledTemporaryFile(_IN_MEMORY) as written,
        SpooledTemporaryFile(_IN_MEMORY) as left_out,
    ):
        making = _Making(ZipWriter(directory, now), written, left_out)
        async with aclosing(_joined(making.all(files, head))) as pieces:
            async for piece in pieces:
                yield piece


@dataclass(frozen=True, slots=True)
class _Making:
    """A zip that is being made. `written` and `left_out`: the lists of the manifest, as JSON."""

    zip: ZipWriter
    written: SpooledTemporaryFile[bytes]
    left_out: SpooledTemporaryFile[bytes]

    async def all(self, files: AsyncGenerator[FileToExport], head: ExportHead) -> AsyncGenerator[bytes]:
        async with aclosing(files):
            async for file in files:
                async with aclosing(self._file(file)) as pieces:
                    async for piece in pieces:
                        yield piece
        async with aclosing(self._file(FileToExport(MANIFEST, self._manifest(head)))) as pieces:
            async for piece in pieces:
                yield piece
        for piece in self.zip.finish():
            yield piece

    async def _file(self, file: FileToExport) -> AsyncGenerator[bytes]:
        begun = False
        async with aclosing(file.pieces):
            try:
                async for content in file.pieces:
                    if not begun:
                        begun = True
                        yield self.zip.begin(file.path, deflated=file.deflated)
                    yield await self._packed(content)
            except (NotFound, ObjectMissing, ObjectCut) as error:
                reason = next(text for kind, text in _REASONS.items() if isinstance(error, kind))
                _add(self.left_out, LeftOut(path=file.path, reason=reason, is_cut=begun))
                if begun:
                    yield self.zip.end()[0]
                return
        if not begun:
            yield self.zip.begin(file.path, deflated=file.deflated)
        foot, facts = self.zip.end()
        if file.path != MANIFEST:
            _add(self.written, _exported(facts))
        yield foot

    async def _packed(self, content: bytes) -> bytes:
        if len(content) < _SMALL:
            return self.zip.write(content)
        return await asyncio.to_thread(self.zip.write, content)

    async def _manifest(self, head: ExportHead) -> AsyncGenerator[bytes]:
        yield msgspec.json.encode(head)[:-1]
        for name, spool in (("left_out", self.left_out), ("files", self.written)):
            yield f',"{name}":['.encode()
            spool.seek(0)
            while piece := spool.read(_READ_BYTES):
                yield piece
            yield b"\n]"
        yield b"}\n"


def _add(spool: SpooledTemporaryFile[bytes], item: msgspec.Struct) -> None:
    spool.write((b",\n" if spool.tell() else b"\n") + msgspec.json.encode(item))


def _exported(facts: WrittenFile) -> ExportedFile:
    return ExportedFile(path=facts.path, size=facts.size, sha256=facts.sha256)


async def _joined(pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """The same bytes: small pieces joined, and pieces of more than `PIECE` bytes divided."""
    joined = bytearray()
    async with aclosing(pieces):
        async for piece in pieces:
            if len(piece) >= _JOINED:
                if joined:
                    yield bytes(joined)
                    joined.clear()
                for start in range(0, len(piece), PIECE):
                    yield piece[start : start + PIECE]
                continue
            joined += piece
            if len(joined) >= _JOINED:
                yield bytes(joined)
                joined.clear()
    if joined:
        yield bytes(joined)
