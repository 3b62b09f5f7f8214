"""The size of each world's rows in the database, and the worlds whose rows exceed the operator's limit.

Counting each write would need a counter row that all writes of a world change. So a worker measures every
five minutes instead: a sample of at most 80 MB of each table, which is exact for small tables and a few
percent off for large ones. PostgreSQL stores long values apart from their rows. The rows hold the lengths of
these values, so the worker counts the values without reading them. Rows that are written between two
measurements count from the second measurement on.

Source: PostgreSQL's documentation of TABLESAMPLE (under SELECT) and of TOAST.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from lapel.foundation.core.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lapel.foundation.core.clock import Clock
    from lapel.foundation.core.disk_guard import DiskGuard
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.database.pool import Database

MEASURED_EVERY_SECONDS = 300
_BELIEVED_FOR_SECONDS = 15.0
_PAGES = 10_000

# The number of a table's pages, and the SQL expression for the bytes of its row `t` (24 are the header's).
# `t.*` would be slow, because PostgreSQL reads all long values of a row to build it.
LAYOUT = """
SELECT coalesce(
    (SELECT sum(pg_relation_size(p.relid))::bigint FROM pg_partition_tree($1::regclass) p),
    pg_relation_size($1::regclass)
) / current_setting('block_size')::bigint AS pages, (
    SELECT '24' || string_agg(format(' + coalesce(pg_column_size(t.%I), 0)', a.attname), '')
    FROM pg_attribute a
    WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped) AS size
"""

# $1: the percentage of the table's pages that is read; $2: the bytes below which a world cannot matter.
SIZES = """
SELECT t.world_id, (sum({size}) * 100 / $1::real)::bigint AS bytes
FROM {table} t TABLESAMPLE SYSTEM ($1::real)
GROUP BY t.world_id HAVING sum({size}) * 100 / $1::real >= $2
"""


def is_full(world_id: str) -> str:
    """SQL condition: the rows of `world_id` (an SQL expression) exceeded the limit when last measured."""
    return f"EXISTS (SELECT 1 FROM full_worlds f WHERE f.world_id = {world_id})"  # noqa: S608 - an expression of our own SQL


FORGET = "DELETE FROM full_worlds"
REMEMBER = "INSERT INTO full_worlds (world_id, bytes, measured_at) VALUES ($1, $2, $3)"
READ = "SELECT world_id, bytes FROM full_worlds"

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Room:
    """The API's check before it stores data: the database's disk, and the size of the world's rows."""

    disk: DiskGuard | None = None
    rows: RowQuota | None = None

    async def check(self, world_id: int, *, writes: bool, grows: bool) -> None:
        """Raises Unavailable when there is no room for the data of an operation.

        `writes`: check the disk. `grows` (the operation stores a client's text): check the world's rows.
        """
        if writes and self.disk is not None and self.disk.low():
            raise Unavailable(
                "The server's disk is nearly full: writes are refused until there is room.", retry_after=60
            )
        if grows and self.rows is not None:
            await self.rows.check(world_id)


class RowQuota:
    """Refuses creations in worlds that are full; asks the database every 15 seconds at most."""

    def __init__(self, database: Database, limit: int, seconds: Callable[[], float] = time.monotonic) -> None:
        """`limit`: bytes of rows that a world may have, 0 for any number."""
        self._database = database
        self._limit = limit
        self._seconds = seconds
        self._read_at = float("-inf")
        self._full: dict[int, int] = {}

    async def check(self, world_id: int) -> None:
        """Raises Unavailable when the world's rows exceed the limit, or the database is unavailable."""
        if not self._limit:
            return
        if self._seconds() - self._read_at > _BELIEVED_FOR_SECONDS:
            self._read_at = self._seconds()
            async with self._database.acquire() as connection:
                self._full = {row["world_id"]: row["bytes"] for row in await connection.fetch(READ)}
        found = self._full.get(world_id)
        if found is not None:
            raise Unavailable(
                f"The rows of this project take {found} bytes in this world, and {self._limit} are allowed: "
                "writes are refused. Delete data, or ask the operator for more.",
                retry_after=MEASURED_EVERY_SECONDS,
            )


async def measure(database: Database, clock: Clock, limit: int, tables: Sequence[str]) -> dict[int, int]:
    """Find the worlds whose rows take more than `limit` bytes, and store them; returns their ids and bytes.

    `limit` 0: no limit.

    Raises Unavailable when the database is unavailable.
    """
    async with database.acquire() as connection:
        sizes = await _sizes(connection, limit, tables) if limit else Counter[int]()
    full = {world_id: found for world_id, found in sizes.items() if found > limit}
    async with database.transaction() as connection:
        await connection.execute(FORGET)
        now = clock.now()
        await connection.executemany(REMEMBER, [(world_id, found, now) for world_id, found in full.items()])
    if full:
        _log.warning("rows.full_worlds", worlds=len(full), limit=limit)
    return full


async def _layout(connection: Connection, table: str) -> tuple[int, str]:
    """A table's pages, and the SQL expression for the bytes of its row `t`."""
    row = await connection.fetchrow(LAYOUT, table)
    if row is None:
        raise RuntimeError("a SELECT without FROM gives a row")
    return row["pages"], row["size"]


async def _sizes(connection: Connection, limit: int, tables: Sequence[str]) -> Counter[int]:
    """The bytes of each world that may have more than `limit`.

    A table in which a world has less than `limit / len(tables)` bytes does not count for that world.
    """
    found: Counter[int] = Counter()
    for table in tables:
        pages, size = await _layout(connection, table)
        share = min(100.0, 100.0 * _PAGES / max(pages, 1))
        # A world above the limit has at least `limit / len(tables)` bytes in one table.
        rows = await connection.fetch(SIZES.format(table=table, size=size), share, limit / len(tables))
        found.update({row["world_id"]: row["bytes"] for row in rows})
    return found
