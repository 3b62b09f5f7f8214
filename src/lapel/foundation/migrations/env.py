"""Alembic's entry: one migrator at a time, one transaction a revision.

A transaction over all revisions would keep the lock of each table that one of them changes until the last
one is done, and the servers of the version before would stand still meanwhile.
"""

from __future__ import annotations

import asyncio

import asyncpg
from alembic import context
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine

from lapel.foundation import migrations

# Any constant: two servers that start together must agree on it.
MIGRATION_LOCK = 5_274_810_116


def _run(connection: Connection) -> None:
    context.configure(connection=connection, transactional_ddl=True, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


async def _migrate_once(dsn: str) -> None:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: asyncpg.connect(dsn, timeout=10, command_timeout=3600),
        poolclass=pool.NullPool,
    )
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_run)
            await connection.commit()
    finally:
        await engine.dispose()


async def _migrate() -> None:
    dsn: str = context.config.attributes["dsn"]
    # In a transaction of its own, because a pooler may give the lock of a session away.
    holder = await asyncpg.connect(dsn, timeout=10)
    try:
        async with holder.transaction():
            await holder.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            # No parameter: the portal of a prepared statement would keep its snapshot, and an index that is
            # built concurrently waits for every snapshot from before.
            await holder.execute(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
            for tries in range(1, migrations.LOCK_TRIES + 1):
                try:
                    await _migrate_once(dsn)
                except asyncpg.LockNotAvailableError:
                    if tries == migrations.LOCK_TRIES:
                        raise
                    await asyncio.sleep(migrations.LOCK_PAUSE)
                else:
                    return
    finally:
        await holder.close()


asyncio.run(_migrate())
