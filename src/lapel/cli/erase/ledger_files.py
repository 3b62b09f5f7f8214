"""The ledger in a file: NDJSON, one erasure or hold a line."""

from __future__ import annotations

import os
import secrets
import stat
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from lapel.cli.shared.faults import CommandError
from lapel.slices.erasure.outside import hold_line_queries, hold_lines, ledger_line_queries
from lapel.slices.erasure.outside.hold_lines import HeldResource, HoldLine
from lapel.slices.erasure.outside.ledger_lines import ErasedResource, LedgerLine
from lapel.slices.projects.revocations import revocation_line_queries, revocation_lines
from lapel.slices.projects.revocations.revocation_lines import RevocationLine

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports

# A line of our own has about 300 bytes.
_MOST_BYTES = 4096
_PAGE = 1000
_AnyLine: TypeAlias = LedgerLine | HoldLine | RevocationLine


async def export(ports: Ports, target: Path) -> tuple[int, int, int]:
    """Write the ledger, except what a hold keeps, the holds in force, and the ends of keys to a file.

    Returns the number of erasures, of holds and of keys that have ended.

    The file appears complete or not at all, and only its owner can read it. It replaces an earlier ledger,
    and nothing else: raises CommandError when `target` is something else, or damaged. Lines of the earlier
    ledger that the database does not know stay, because it may come from a backup that is older than they
    are. Raises OSError when the file cannot be written, and Unavailable while the database is unavailable.
    """
    replaces = _is_earlier_ledger(target)
    unfinished = target.with_name(f"{target.name}.{secrets.token_hex(4)}.unfinished")
    count = holds = keys = 0
    kept_keys = set[str]()
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            async with ports.database.transaction() as connection:
                # First, so that what the database learns meanwhile is there twice, and not lost.
                if replaces:
                    async for kept in _unknown_lines(connection, target):
                        file.write(msgspec.json.encode(kept) + b"\n")
                        count += isinstance(kept, LedgerLine)
                        holds += isinstance(kept, HoldLine)
                        if isinstance(kept, RevocationLine):
                            kept_keys.add(kept.key_id)
                async for line in ledger_line_queries.export(connection):
                    file.write(msgspec.json.encode(line) + b"\n")
                    count += 1
                # After the erasures: what was erased before a hold is there, and nothing that the hold keeps.
                async for row in hold_line_queries.export(connection):
                    file.write(msgspec.json.encode(hold_lines.placed(row)) + b"\n")
                    holds += 1
                async for key in revocation_line_queries.export(connection):
                    for end in revocation_lines.lines_of(key):
                        file.write(msgspec.json.encode(end) + b"\n")
                    keys += key.id not in kept_keys
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return count, holds, keys + len(kept_keys)


def _is_earlier_ledger(target: Path) -> bool:
    """Whether there is a ledger; False if there is nothing.

    Raises CommandError for a device, a pipe, a link, a folder, and a file that is no ledger.
    """
    try:
        kind = target.lstat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISREG(kind):
        with target.open("rb") as file:
            line = file.readline(_MOST_BYTES)
        try:
            if line:  # a ledger may be empty
                _line(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise CommandError(f"{target} is no earlier ledger; name a new file.") from None
    else:
        raise CommandError(f"{target} exists and is no file; name a new file.")
    return True


async def _unknown_lines(connection: Connection, earlier: Path) -> AsyncGenerator[_AnyLine]:
    """The lines of an earlier ledger that the database does not know."""
    async for page in _pages(earlier, "Name a new file, and keep this one."):
        erasures = [line for line in page if isinstance(line, LedgerLine)]
        holds = [line for line in page if isinstance(line, HoldLine)]
        ends = [line for line in page if isinstance(line, RevocationLine)]
        resources = [(line.project_id, line.mode, line.resource_type, line.resource_id) for line in erasures]
        held = [(line.project_id, line.mode, line.id) for line in holds]
        ended = [(line.project_id, line.mode, line.key_id, line.end, line.at) for line in ends]
        for lines, known in (
            (erasures, await ledger_line_queries.find_known(connection, resources)),
            (holds, await hold_line_queries.find_known(connection, held)),
            (ends, await revocation_line_queries.find_known(connection, ended)),
        ):
            places = set(known)
            for place, line in enumerate(lines, start=1):
                if place not in places:
                    yield line


async def read(source: Path) -> AsyncGenerator[list[ErasedResource]]:
    """The erasures of a file, a thousand at a time. Raises CommandError for a line of another kind."""
    async for page in _pages(source):
        yield [
            ErasedResource(
                line.project_id, line.mode, line.resource_type, line.resource_id, line.recording_id
            )
            for line in page
            if isinstance(line, LedgerLine)
        ]


async def read_holds(source: Path) -> AsyncGenerator[list[HeldResource]]:
    """The holds of a file, a thousand lines at a time. Raises CommandError for a line of another kind."""
    async for page in _pages(source):
        yield [
            HeldResource(line.id, line.project_id, line.mode, line.resource_type, line.resource_id)
            for line in page
            if isinstance(line, HoldLine)
        ]


async def read_ends(source: Path) -> AsyncGenerator[list[RevocationLine]]:
    """The ends of keys of a file, a thousand lines at a time.

    Raises CommandError for a line of another kind.
    """
    async for page in _pages(source):
        yield [line for line in page if isinstance(line, RevocationLine)]


class _Kind(msgspec.Struct, frozen=True):
    """Only the line of a hold has `hold`, and only that of a key's end has `end`."""

    hold: str | None = None
    end: str | None = None


_kind = msgspec.json.Decoder(_Kind).decode
_erasure = msgspec.json.Decoder(LedgerLine).decode
_hold = msgspec.json.Decoder(HoldLine).decode
_end = msgspec.json.Decoder(RevocationLine).decode


def _line(text: bytes) -> _AnyLine:
    """Raises msgspec.MsgspecError and UnicodeDecodeError for a line of another kind."""
    kind = _kind(text)
    if kind.end:
        return _end(text)
    return _hold(text) if kind.hold else _erasure(text)


async def _pages(
    source: Path, remedy: str = "Nothing of this line or a later one was erased."
) -> AsyncGenerator[list[_AnyLine]]:
    page: list[_AnyLine] = []
    with source.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_MOST_BYTES), b""), start=1):
            try:
                page.append(_line(line))
            except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
                raise CommandError(
                    f"{source}, line {number}: this is no line of `lapel erase --export` ({fault}). {remedy}"
                ) from None
            if len(page) == _PAGE:
                yield page
                page = []
    yield page
