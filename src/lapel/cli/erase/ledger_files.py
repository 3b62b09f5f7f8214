"""The ledger in a file: NDJSON, one erasure a line."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import msgspec

from lapel.cli.shared.faults import CommandError
from lapel.slices.erasure.outside import ledger_line_queries
from lapel.slices.erasure.outside.ledger_lines import ErasedResource, LedgerLine

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from lapel.foundation.ports import Ports

# A line of our own has about 300 bytes.
_MOST_BYTES = 4096
_PAGE = 1000


async def export(ports: Ports, target: Path) -> int:
    """Write the whole ledger to a file, except what a hold keeps. Returns the number of lines.

    The file appears complete or not at all. Raises OSError when it cannot be written, and Unavailable while
    the database is unavailable.
    """
    unfinished = target.with_name(f"{target.name}.{secrets.token_hex(4)}.unfinished")
    count = 0
    try:
        with unfinished.open("xb") as file:
            async with ports.database.transaction() as connection:
                async for line in ledger_line_queries.export(connection):
                    file.write(msgspec.json.encode(line) + b"\n")
                    count += 1
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return count


async def read(source: Path) -> AsyncGenerator[list[ErasedResource]]:
    """The erasures of a file, a thousand at a time. Raises CommandError for a line of another kind."""
    decoder = msgspec.json.Decoder(LedgerLine)
    page: list[ErasedResource] = []
    with source.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_MOST_BYTES), b""), start=1):
            try:
                read_line = decoder.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
                raise CommandError(
                    f"{source}, line {number}: this is no line of `lapel erase --export` ({fault}). "
                    "Nothing of this line or a later one was erased."
                ) from None
            page.append(
                ErasedResource(
                    read_line.project_id,
                    read_line.mode,
                    read_line.resource_type,
                    read_line.resource_id,
                    read_line.recording_id,
                )
            )
            if len(page) == _PAGE:
                yield page
                page = []
    yield page
