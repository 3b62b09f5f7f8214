"""Compares the index of a backup with the sizes and hashes that the backup's database promises.

Index and objects could be changed together, or be those of another backup. The database says what was
promised to clients.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import asyncpg

from lapel.cli.shared import queries
from lapel.cli.shared.faults import CommandError, direct_url
from lapel.foundation.database.time_limits import UNLIMITED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lapel.cli.backup.archive import Entry
    from lapel.settings import Settings

_BATCH = 1000


async def compare(settings: Settings, entries: Iterable[Entry], erased: int) -> None:
    """Compare the index with the restored database, in bounded memory.

    `erased`: how many promised objects were deleted while the backup was made, and so are not in it. Raises
    CommandError for an object with another size or SHA-256, and when more objects are missing.
    """
    with direct_url(settings) as url:
        left = await _compare(url, entries)
    if left > erased:
        raise CommandError(
            f"the backup is not complete: objects.jsonl lacks {left - erased} objects that its database "
            "promises."
        )


async def _compare(url: str, entries: Iterable[Entry]) -> int:
    """Returns how many promised objects the index lacks."""
    connection = await asyncpg.connect(url, timeout=10, server_settings=UNLIMITED)
    try:
        left = await queries.count_promised(connection)
        remaining = iter(entries)
        while batch := {each.key: each for each in islice(remaining, _BATCH)}:
            promised = await queries.find_promised(connection, list(batch))
            for each in promised:
                entry = batch[each.key]
                if (entry.size, entry.sha256) != (each.size, each.sha256):
                    raise CommandError(
                        f"the backup was changed: objects.jsonl lists {entry.size} bytes with SHA-256 "
                        f"{entry.sha256} as {each.key}, but its database promises {each.size} bytes with "
                        f"{each.sha256}."
                    )
            left -= len(promised)
        return left
    finally:
        await connection.close()
