"""The connections of the pool and of the queue, and the type of a database connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

from lapel.foundation.database.time_limits import add_limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    Connection = asyncpg.Connection[asyncpg.Record]
    _Asks = Callable[[Iterable[int], float | None], Awaitable[tuple[list[asyncpg.Record], Any]]]

# PostgreSQL's own types have the same numbers below this one in every database and version (see "OID
# Assignment" in its documentation).
_FIRST_ASSIGNED_OID = 10_000
# The rows of asyncpg's question that describe an array, by the array's number: the type of its elements, and
# the array.
_ARRAYS: dict[int, tuple[asyncpg.Record, asyncpg.Record]] = {}


class _NoStatement:
    """In place of the statement of the question: asyncpg looks whether it has replaced the unnamed one."""

    name = "none"


_NO_STATEMENT = _NoStatement()

# A standby is of no use even for reads: what it says may be out of date, such as a key that was revoked.
ACCEPTS_WRITES = "SELECT current_setting('transaction_read_only') = 'off'"
ONLY_READS = "accepts no writes: it is a standby, or `default_transaction_read_only` is on"


class PooledConnection(asyncpg.Connection):
    """A connection that asks for no type that another connection of the process has asked for.

    Each asyncpg connection asks the database for the types that it does not know, also for arrays of
    PostgreSQL's own types. Such a question takes PostgreSQL nine milliseconds, and most requests have an
    array. The answer is the same in every database, so here one connection of the process asks.
    """

    async def _introspect_types(
        self, typeoids: Iterable[int], timeout: float | None
    ) -> tuple[list[Any], Any]:
        """The rows that describe types and the types of their elements, and the statement that read them."""
        new = [oid for oid in typeoids if oid not in _ARRAYS]
        known = [row for oid in typeoids if oid in _ARRAYS for row in _ARRAYS[oid]]
        if not new:
            return known, _NO_STATEMENT
        asks: _Asks = getattr(super(), "_introspect_types")  # noqa: B009 - asyncpg's stubs lack it
        found, statement = await asks(new, timeout)
        rows = {row["oid"]: row for row in found}
        for oid, row in rows.items():
            if oid < _FIRST_ASSIGNED_OID and row["elemtype"] in rows:
                _ARRAYS[oid] = (rows[row["elemtype"]], row)
        return [*known, *found], statement


def behind_pooler(lock_seconds: float) -> type[PooledConnection]:
    """The class of connections to a pooler of transactions: each transaction begins with its limits."""

    class Limited(PooledConnection):
        async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
            begin = add_limits(query, lock_seconds) if query.startswith("BEGIN") else query
            return await super().execute(begin, *args, timeout=timeout)

    return Limited


async def prepare(connection: Connection) -> None:
    """Refuses a standby, and transfers jsonb as text that msgspec encodes and decodes.

    See `foundation/http/input/fields.py`. Raises ReadOnlySQLTransactionError.
    """
    await check_accepts_writes(connection)
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=str, format="text")


async def check_accepts_writes(connection: Connection) -> None:
    """Raises ReadOnlySQLTransactionError, as a write would, if the database accepts no writes."""
    if not await connection.fetchval(ACCEPTS_WRITES):
        raise asyncpg.ReadOnlySQLTransactionError(ONLY_READS)
