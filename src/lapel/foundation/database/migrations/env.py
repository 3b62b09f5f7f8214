"""Alembic's entry: one process migrates at a time, and each revision is a transaction.

One transaction over all revisions would hold the lock of each changed table until the last revision is done,
and would block the servers of the previous version until then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager

import asyncpg
from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine

from lapel.foundation.database import migrations
from lapel.foundation.database.time_limits import UNLIMITED

# Any constant that all servers share.
MIGRATION_LOCK = 5_274_810_116
# A process waits for the lock in turns of `_TURN_PATIENCE` milliseconds, `_TURN_PAUSE` seconds apart. A long
# wait would block the process that migrates: the waiting statement holds a snapshot, and CREATE INDEX
# CONCURRENTLY waits until all older snapshots are gone.
_TURN_PATIENCE = 100
_TURN_PAUSE = 0.4
# One string without parameters is not prepared: the portal of a prepared statement would keep its snapshot.
_TAKE_TURN = f"""
SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL lock_timeout = {_TURN_PATIENCE};
SELECT pg_advisory_xact_lock({MIGRATION_LOCK})
"""
# The tables of the audit log admit only new rows: their owner takes the other rights from itself. A restored
# dump has no rights, so they are taken after each migration. A superuser has all rights, whatever is revoked.
_PROTECT = """
DO $$
DECLARE
    protected regclass;
BEGIN
    FOR protected IN
        SELECT oid FROM pg_class
        WHERE oid IN (to_regclass('audit_log'), to_regclass('audit_chain'), to_regclass('audit_checkpoints'))
            AND to_regclass('audit_chain') IS NOT NULL AND relowner = current_user::regrole
            AND has_table_privilege(oid, 'UPDATE, DELETE, TRUNCATE')
    LOOP
        EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %s FROM PUBLIC, CURRENT_USER', protected);
    END LOOP;
END $$
"""


def _record_range(
    ctx: MigrationContext,  # noqa: ARG001 - Alembic names the arguments
    step: MigrationInfo,
    heads: Collection[str],  # noqa: ARG001
    run_args: Mapping[str, object],  # noqa: ARG001
) -> None:
    for revision in step.up_revisions:
        if isinstance(revision, Script):
            migrations.record_range(revision)


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection, transactional_ddl=True, transaction_per_migration=True,
        on_version_apply=_record_range,
    )  # fmt: skip
    with context.begin_transaction():
        context.run_migrations()


async def _migrate_once(dsn: str) -> None:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: asyncpg.connect(
            dsn, timeout=10, command_timeout=3600, server_settings=UNLIMITED
        ),
        poolclass=pool.NullPool,
    )
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_run)
            await connection.exec_driver_sql(_PROTECT)
            await connection.commit()
    finally:
        await engine.dispose()


@asynccontextmanager
async def _turn(holder: migrations.Driver) -> AsyncGenerator[None]:
    """A transaction in which no other process migrates.

    The lock belongs to the transaction, because a pooler may give a session and its lock to another client.
    """
    while True:
        turn = holder.transaction()
        await turn.start()
        try:
            await holder.execute(_TAKE_TURN)
            break
        except asyncpg.LockNotAvailableError:
            await turn.rollback()
            await asyncio.sleep(_TURN_PAUSE)
    try:
        yield
    finally:
        await turn.rollback()  # it has written nothing


async def _migrate() -> None:
    dsn: str = context.config.attributes["dsn"]
    holder = await asyncpg.connect(dsn, timeout=10, server_settings=UNLIMITED)
    try:
        async with _turn(holder):
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
