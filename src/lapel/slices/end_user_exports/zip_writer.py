"""Writes a zip piece by piece, in bounded memory, to a stream that cannot be rewound.

The sizes and the checksum of a file follow its bytes, because they are not known before (data descriptors).
Every file may have more than 4 GiB (Zip64), and names are UTF-8. Python's `zipfile` keeps an object of about
700 bytes in memory for each file until the end; here the central directory goes to a temporary file.

Source: APPNOTE.TXT 6.3.10 (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT), sections 4.3 to 4.5.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

_LOCAL = struct.Struct("<4s5H3L2H")
_LOCAL_ZIP64 = struct.Struct("<2H2Q")
_DESCRIPTOR = struct.Struct("<4sL2Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END64 = struct.Struct("<4sQ2H2L4Q")
_END64_PLACE = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")

_VERSION = 45  # of the format: Zip64
_MADE_BY_UNIX = 3 << 8 | _VERSION
_FLAGS = 0x0808  # the name is UTF-8; sizes and checksum follow the bytes
_STORED, _DEFLATED = 0, 8
_ZIP64 = 1  # the extra field with 64-bit numbers
_FILE_MODE = 0o100600 << 16
_MOST16, _MOST32 = 0xFFFF, 0xFFFFFFFF
_READ_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file of the zip: its path, its bytes before compression, and their SHA-256 (hexadecimal)."""

    path: str
    size: int
    sha256: str


class ZipWriter:
    """One zip. Each method returns the next bytes of the zip; one file is written after the other."""

    def __init__(self, directory: IO[bytes], modified: datetime) -> None:
        """`directory`: an empty temporary file for the central directory. `modified`: the time of all files,
        UTC."""
        self._directory = directory
        self._time = modified.hour << 11 | modified.minute << 5 | modified.second // 2
        self._date = (modified.year - 1980) << 9 | modified.month << 5 | modified.day
        self._offset = 0
        self._count = 0
        self._begin_of_file = 0
        self._name = b""
        self._path = ""
        self._method = _STORED
        self._reset()

    def _reset(self) -> None:
        self._size = self._packed = self._crc = 0
        self._digest = hashlib.sha256()
        self._deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)

    def begin(self, path: str, *, deflated: bool) -> bytes:
        """The head of the next file. `path`: relative, with `/`, without `..`; no two files have the same.

        Raises ValueError when the path has more than 65,535 bytes.
        """
        self._path, self._name = path, path.encode()
        if len(self._name) > _MOST16:
            raise ValueError(f"a path of {len(self._name)} bytes fits no zip")
        self._method = _DEFLATED if deflated else _STORED
        self._begin_of_file = self._offset
        self._reset()
        head = _LOCAL.pack(
            b"PK\3\4", _VERSION, _FLAGS, self._method, self._time, self._date, 0, _MOST32, _MOST32,
            len(self._name), _LOCAL_ZIP64.size,
        )  # fmt: skip
        return self._made(head + self._name + _LOCAL_ZIP64.pack(_ZIP64, _LOCAL_ZIP64.size - 4, 0, 0))

    def write(self, content: bytes) -> bytes:
        """The next bytes of the file that was begun."""
        self._size += len(content)
        self._crc = zlib.crc32(content, self._crc)
        self._digest.update(content)
        return self._packed_made(self._deflate.compress(content) if self._method else content)

    def end(self) -> tuple[bytes, WrittenFile]:
        """The end of the file that was begun, and its facts."""
        rest = self._packed_made(self._deflate.flush() if self._method else b"")
        foot = self._made(_DESCRIPTOR.pack(b"PK\7\10", self._crc, self._packed, self._size))
        large = [each for each in (self._size, self._packed, self._begin_of_file) if each >= _MOST32]
        extra = struct.pack(f"<2H{len(large)}Q", _ZIP64, 8 * len(large), *large) if large else b""
        entry = _CENTRAL.pack(
            b"PK\1\2", _MADE_BY_UNIX, _VERSION, _FLAGS, self._method, self._time, self._date, self._crc,
            min(self._packed, _MOST32), min(self._size, _MOST32), len(self._name), len(extra), 0, 0, 0,
            _FILE_MODE, min(self._begin_of_file, _MOST32),
        )  # fmt: skip
        self._directory.write(entry + self._name + extra)
        self._count += 1
        return rest + foot, WrittenFile(self._path, self._size, self._digest.hexdigest())

    def finish(self) -> Iterator[bytes]:
        """The central directory and the end of the zip."""
        begin, size = self._offset, self._directory.tell()
        self._directory.seek(0)
        while piece := self._directory.read(_READ_BYTES):
            yield piece
        if self._count >= _MOST16 or size >= _MOST32 or begin >= _MOST32:
            yield _END64.pack(
                b"PK\6\6", _END64.size - 12, _MADE_BY_UNIX, _VERSION, 0, 0, self._count, self._count, size,
                begin,
            )  # fmt: skip
            yield _END64_PLACE.pack(b"PK\6\7", 0, begin + size, 1)
        count = min(self._count, _MOST16)
        yield _END.pack(b"PK\5\6", 0, 0, count, count, min(size, _MOST32), min(begin, _MOST32), 0)

    def _made(self, piece: bytes) -> bytes:
        self._offset += len(piece)
        return piece

    def _packed_made(self, piece: bytes) -> bytes:
        self._packed += len(piece)
        return self._made(piece)
