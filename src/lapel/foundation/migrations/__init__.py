"""Schema migrations: Alembic for the order, plain SQL in the revisions.

`upgrade(dsn)` brings a database to the newest revision; several processes may call it at
once, one of them works and the others wait.
"""

from __future__ import annotations

from pathlib import Path

import asyncpg
from alembic import command, op
from alembic.config import Config
from alembic.script import ScriptDirectory

FOLDER = Path(__file__).parent


def _config(dsn: str = "") -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["dsn"] = dsn
    return config


def head() -> str:
    """The newest revision this code knows."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise RuntimeError("the migrations are missing from this installation")
    return revision


def known(revision: str) -> bool:
    """Whether this code has the revision (a newer Lapel's database has one it lacks)."""
    scripts = ScriptDirectory.from_config(_config())
    return any(script.revision == revision for script in scripts.walk_revisions())


def upgrade(dsn: str) -> None:
    """Bring the database to `head()`. Blocks; call it outside an event loop.

    Raises the driver's errors as they are: a failed migration leaves nothing behind,
    since each revision runs in one transaction.
    """
    command.upgrade(_config(dsn), "head")


async def current(connection: asyncpg.Connection[asyncpg.Record]) -> str | None:
    """The database's revision, or None when it was never migrated."""
    exists = await connection.fetchval("SELECT to_regclass('public.alembic_version') IS NOT NULL")
    if not exists:
        return None
    value = await connection.fetchval("SELECT version_num FROM alembic_version")
    return None if value is None else str(value)


def script(sql: str) -> None:
    """Run a script of several statements inside the revision's transaction.

    The driver prepares what SQLAlchemy sends, and a prepared statement holds one command
    only; its own `execute` takes a script.
    """
    connection = op.get_bind().connection.dbapi_connection
    if connection is None:
        raise RuntimeError("a revision runs on an open connection")
    connection.run_async(lambda raw: raw.execute(sql))  # pyright: ignore[reportUnknownMemberType, reportUnknownLambdaType] - SQLAlchemy types the adapter as a DBAPI connection
