"""What is left out of a dump so that every PostgreSQL can restore it.

A PostgreSQL may keep options of columns that others do not know, such as Debian's `pg_attver`. A pg_dump of
another build writes them as statements, and such a statement ends a restore. They are part of the definitions
of tables, so pg_restore's own list of contents cannot leave them out.

Source: pg_backup_archiver.c and pg_backup_custom.c in PostgreSQL's source code, versions 1.14 to 1.16 of the
format (PostgreSQL 12 to 18).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_PIECE = 1 << 20  # bytes
_MOST = 64 << 20  # bytes of definitions; Lapel's take less than one MiB
_UNKNOWN_OPTION = re.compile(rb"ALTER TABLE ONLY [^\n;]+ ALTER COLUMN [^\n;]+ SET \(pg_attver='?\d+'?\);")


def portable(dump: Path) -> Iterator[bytes]:
    """The content of a dump in pg_dump's custom format, piece by piece, with spaces in place of statements
    that only the PostgreSQL that was dumped knows.

    The rows are passed on as they are, and so is a file in another format.
    """
    with dump.open("rb") as file:
        contents = file.read(_Contents(file).end())
        yield _UNKNOWN_OPTION.sub(lambda found: b" " * len(found[0]), contents)
        while piece := file.read(_PIECE):
            yield piece


class _Contents:
    """The table of contents at the beginning of a dump, which has all definitions and no row."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._int_bytes = self._offset_bytes = 0

    def end(self) -> int:
        """Number of bytes to the end of the table, or 0 if it cannot be read: then pg_restore says why. Goes
        back to the beginning of the file."""
        try:
            end = self._find_end()
        except EOFError:
            end = 0
        self._file.seek(0)
        return end if end <= _MOST else 0

    def _find_end(self) -> int:
        head = self._file.read(11)
        if len(head) < 11 or head[:5] != b"PGDMP" or head[10] != 1:
            return 0
        version = (head[5], head[6])
        if not (1, 14) <= version <= (1, 16):
            return 0
        self._int_bytes, self._offset_bytes = head[8], head[9]
        if version >= (1, 15):
            self._file.read(1)  # how rows are compressed
        else:
            self._skip_ints(1)
        self._skip_ints(7)  # when it was made
        self._skip_texts(3)  # the database, and the versions of server and pg_dump
        for _ in range(self._int()):
            self._skip_entry(version)
        return self._file.tell()

    def _skip_entry(self, version: tuple[int, int]) -> None:
        self._skip_ints(2)
        self._skip_texts(4)  # the object
        self._skip_ints(1)
        self._skip_texts(6)  # its definition and others, schema, tablespace, access method
        if version >= (1, 16):
            self._skip_ints(1)
        self._skip_texts(2)
        while self._text():
            pass  # what it depends on
        self._file.read(1 + self._offset_bytes)  # where its rows are

    def _int(self) -> int:
        read = self._file.read(1 + self._int_bytes)
        if len(read) <= self._int_bytes:
            raise EOFError
        number = int.from_bytes(read[1:], "little")
        return -number if read[0] else number

    def _text(self) -> bool:
        """Skips a text; False if there is none."""
        length = self._int()
        if length < 0:
            return False
        self._file.seek(length, 1)
        return True

    def _skip_ints(self, count: int) -> None:
        for _ in range(count):
            self._int()

    def _skip_texts(self, count: int) -> None:
        for _ in range(count):
            self._text()
