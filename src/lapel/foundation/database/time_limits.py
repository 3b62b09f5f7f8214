"""How long PostgreSQL lets a statement run, wait for a row, and leaves a transaction without a statement.

A connection of our own gets the limits when it begins, which costs nothing later. A pooler of transactions
(PgBouncer) refuses such a beginning, or ignores the limits. Behind one, the statement that begins a
transaction sets them for this transaction; a statement outside a transaction has the limits that the role has
in the database, and asyncpg's own.

Sources: "Client Connection Defaults" in PostgreSQL's documentation; ignore_startup_parameters in PgBouncer's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from lapel.settings import Settings

# Seconds that a statement waits for a row that another transaction holds, if the process says nothing else.
LOCK_SECONDS = 10.0
_STATEMENT = "15s"
_IDLE_TRANSACTION = "60s"
UNLIMITED = {"statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0"}
"""For connections of migrations and dumps, whatever limits the role has."""
BACKEND = "SELECT pg_backend_pid()"
PROBE = "LISTEN lapel_probe"
_PROBE_SECONDS = 10
_LOOKS = 5
# What a pooler says of a parameter that it does not keep for its clients.
_REFUSED = "unsupported startup parameter"


def limits(lock_seconds: float = LOCK_SECONDS) -> dict[str, str]:
    """The settings of PostgreSQL and their values."""
    return {
        "statement_timeout": _STATEMENT,
        "lock_timeout": f"{round(lock_seconds * 1000)}ms",
        "idle_in_transaction_session_timeout": _IDLE_TRANSACTION,
    }


def is_pooled(settings: Settings) -> bool:
    """Whether the database URL leads to a pooler of transactions: then another URL leads past it."""
    return settings.listen_database_url not in (None, settings.database_url)


def is_refusal_of_pooler(error: BaseException) -> bool:
    """Whether a pooler refuses the limits of a connection. It will do so again."""
    return isinstance(error, asyncpg.ProtocolViolationError) and _REFUSED in str(error)


def add_limits(begin: str, lock_seconds: float) -> str:
    """The statement that begins a transaction, with the limits of this transaction, for one round trip."""
    return begin + "".join(f" SET LOCAL {name} = '{value}';" for name, value in limits(lock_seconds).items())


async def shares_backends(url: str) -> bool:
    """Whether two connections get the same process of PostgreSQL, as behind a pooler of transactions.

    A pooler that keeps a process for each session, or for one that listens, is no obstacle. Raises the
    driver's errors when the database cannot be reached, and TimeoutError when it does not answer.
    """
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            return await _meet_in_one_backend(url)
    except (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError):
        return True  # the statement is prepared in another process than it runs in


async def _meet_in_one_backend(url: str) -> bool:
    # Without a cache, statements have no names: those of an earlier start may still be there.
    first = await asyncpg.connect(url, statement_cache_size=0)
    try:
        await first.execute(PROBE)
        # A pooler gives its clients other numbers of processes than PostgreSQL has.
        if await first.fetchval(BACKEND) == first.get_server_pid():
            return False
        second = await asyncpg.connect(url, statement_cache_size=0)
        try:
            for _ in range(_LOOKS):  # meanwhile another client may get the process of the first
                if await first.fetchval(BACKEND) == await second.fetchval(BACKEND):
                    return True
        finally:
            await second.close(timeout=1.0)
    finally:
        await first.close(timeout=1.0)
    return False
