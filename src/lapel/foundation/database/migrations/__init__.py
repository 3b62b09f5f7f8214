"""Schema migrations: Alembic for the order, plain SQL in the revisions.

`upgrade(dsn)` brings a database to the newest revision. Several processes may call it at once: one works, and
the others wait. Servers of the previous version may run meanwhile, so no step may block them for long:
`script` makes short changes of tables, `in_batches` changes rows, and `build_index` makes an index.

Each revision says in `serves_older` whether a server that knows only the revision before works on the schema
after it, also if it starts anew: True if the revision only adds what older code neither reads nor must write.
Without the word, it does not. A test refuses True beside SQL that drops, renames or retypes something. The
database keeps the oldest revision whose servers may run. A revision that uses `in_batches` or `build_index`
is not one transaction, so each of its steps must be repeatable.

Source: PostgreSQL's documentation of CREATE INDEX, section "Building Indexes Concurrently".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import asyncpg
from alembic import command, op
from alembic.config import Config
from alembic.script import Script, ScriptDirectory

from lapel.foundation.database.schema.schema_version import HAS_SCHEMA

Driver: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
FOLDER = Path(__file__).parent

# Seconds that a change of a table waits for its lock. Meanwhile every later request for the table waits too.
LOCK_PATIENCE = 2.0
# Number of tries, and the pause between them in seconds, when the lock is not free.
LOCK_TRIES = 150
LOCK_PAUSE = 2.0

BATCH_ROWS = 5_000
# Sorts after every id.
_LAST = "\U0010ffff"


def _config(dsn: str = "") -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["dsn"] = dsn
    return config


def head() -> str:
    """The newest revision this code knows. Raises RuntimeError when the migrations are not installed."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise RuntimeError("the migrations are missing from this installation")
    return revision


def known(revision: str) -> bool:
    """Whether this code has the revision. The revision of a newer version's database may be missing here."""
    scripts = ScriptDirectory.from_config(_config())
    return any(script.revision == revision for script in scripts.walk_revisions())


def upgrade(dsn: str, revision: str = "head") -> None:
    """Bring the database to a revision. Blocks; call it outside an event loop.

    Raises the driver's errors unchanged. After an error, finished revisions stay, and the next call continues
    after them.
    """
    command.upgrade(_config(dsn), revision)


async def current(connection: Driver) -> str | None:
    """The database's revision, or None when it was never migrated."""
    if not await connection.fetchval(HAS_SCHEMA):
        return None
    value = await connection.fetchval("SELECT version_num FROM alembic_version")
    return None if value is None else str(value)


def record_range(revision: Script) -> None:
    """Write, in the transaction of a revision that older servers do not work with, that they may not run."""
    has_range = "SELECT to_jsonb(v) ? 'oldest_compatible' FROM alembic_version v"
    connection = op.get_bind()
    if not getattr(revision.module, "serves_older", False) and connection.exec_driver_sql(has_range).scalar():
        connection.exec_driver_sql("UPDATE alembic_version SET oldest_compatible = version_num")


def script(sql: str) -> None:
    """Run a script of several statements inside the revision's transaction.

    The script goes to the driver's own `execute`: SQLAlchemy would make a prepared statement of it, which
    holds only one command.
    """
    # This also begins the transaction: SQLAlchemy does not see commands that go to the driver directly.
    op.get_bind().exec_driver_sql(f"SET LOCAL lock_timeout = {round(LOCK_PATIENCE * 1000)}")
    _send(lambda connection: connection.execute(sql))


def in_batches(table: str, statement: str) -> None:
    """Run a statement over all rows of `table`, `BATCH_ROWS` at a time, each batch in its own transaction.

    The statement selects its rows with `world_id = $1 AND id > $2 AND id <= $3`. The call commits the earlier
    steps of the revision.
    """
    end_of_batch = (
        f"SELECT id FROM {table} WHERE world_id = $1 AND id > $2 "  # noqa: S608 - names in revisions
        f"ORDER BY id OFFSET {BATCH_ROWS - 1} LIMIT 1"
    )

    async def walk(connection: Driver) -> None:
        for (world_id,) in await connection.fetch("SELECT id FROM worlds"):
            after = ""
            while after != _LAST:
                end = await connection.fetchval(end_of_batch, world_id, after) or _LAST
                async with connection.transaction():
                    # There are no statistics yet of a column that was just added.
                    await connection.execute("SET LOCAL enable_seqscan = off")
                    await connection.execute(statement, world_id, after, end)
                after = end

    with op.get_context().autocommit_block():
        _send(walk)


def build_index(name: str, definition: str, *, unique: bool = False) -> None:
    """Create an index while its table accepts writes. Replaces an earlier or unfinished index of this name.

    `definition` is the text after `CREATE INDEX … ON`. `unique`: the new index is in force before the earlier
    one is dropped. The call commits the earlier steps of the revision.
    """

    kind = "UNIQUE INDEX" if unique else "INDEX"

    async def build(connection: Driver) -> None:
        await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}_new")
        await connection.execute(f"CREATE {kind} CONCURRENTLY {name}_new ON {definition}")
        await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        await connection.execute(f"ALTER INDEX {name}_new RENAME TO {name}")

    with op.get_context().autocommit_block():
        _send(build)


def _send(work: Callable[[Driver], Awaitable[object]]) -> None:
    connection = op.get_bind().connection.dbapi_connection
    if connection is None:
        raise RuntimeError("a revision runs on an open connection")
    connection.run_async(work)
