"""One real PostgreSQL for a test session, with any number of databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from lapel.embedded.postgres.supervisor import EmbeddedPostgres

# Autovacuum has processes in a database too, which only an administrator may end.
_END_CLIENTS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"""
# Both may be followed by further conditions.
END_OTHERS = f"{_END_CLIENTS} AND datname = current_database()"
END_ALL_OF = f"{_END_CLIENTS} AND datname = $1"


def start_postgres(folder: Path) -> EmbeddedPostgres:
    """A started server over `folder`; `.dsn(database="…")` names a database, `.stop()` ends it.

    Call it in the main thread. Durability is switched off: a test that needs it starts its own.
    """
    server = EmbeddedPostgres(
        folder, extra={"fsync": "off", "max_connections": "250", "shared_buffers": "16MB"}
    )
    server.start()
    return server


def create_database(server: EmbeddedPostgres, name: str, template: str | None = None) -> str:
    """Makes the database `name`, owned by `lapel`, with vector or as a copy of `template`; gives its URL."""
    _sql(
        server,
        "postgres",
        f'CREATE DATABASE "{name}" OWNER lapel'
        + (f' TEMPLATE "{template}" STRATEGY file_copy' if template else ""),
    )
    if template is None:
        _sql(server, name, "CREATE EXTENSION vector")
    return server.dsn(database=name)


def drop_database(server: EmbeddedPostgres, name: str) -> None:
    """Drops the database `name`, and ends the connections to it."""
    _sql(server, "postgres", f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def limit_connections(server: EmbeddedPostgres, url: str, most: int) -> None:
    """Let the database at `url` have so many connections; those that are open stay. -1: any number."""
    _sql(server, "postgres", f'ALTER DATABASE "{_name(url)}" CONNECTION LIMIT {most}')


@asynccontextmanager
async def away(url: str) -> AsyncGenerator[None]:
    """During the block, the database at `url` accepts no connection; those that were open are ended."""
    name = _name(url)
    admin = await asyncpg.connect(url, database="postgres")
    try:
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await admin.execute(END_ALL_OF, name)
        yield
    finally:
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        await admin.close()


def _name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


def _sql(server: EmbeddedPostgres, database: str, statement: str) -> None:
    """Run a statement as the administrator, also while an event loop runs in this thread."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, _execute(server.dsn("postgres", database), statement)).result(60)


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
