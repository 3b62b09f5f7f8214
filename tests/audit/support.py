"""Entries to chain, and a database in which somebody with all rights may tamper."""

from __future__ import annotations

from typing import Any

import asyncpg

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.database import audit
from lapel.foundation.ports import Ports


async def write_entries(ports: Ports, world_id: int, count: int, about: str | None = None) -> None:
    """Entries with values, in one transaction."""
    async with ports.database.transaction() as connection:
        for number in range(count):
            change = audit.Change(
                action="thing.changed",
                resource_type="thing",
                resource_id=f"thing_{number}",
                before=None,
                after={"é": number},
            )
            await audit.record(
                connection,
                ports.ids,
                ports.clock.now(),
                worlds=[world_id],
                actor=None,
                change=change,
                about=about,
            )


async def tamper(server: EmbeddedPostgres, ports: Ports, *statements: str, world: int) -> None:
    """Run statements on the database of `ports` as a superuser. `{w}` stands for the world."""
    name = str(ports.database.dsn).partition("?")[0].rpartition("/")[2]
    connection: asyncpg.Connection[Any] = await asyncpg.connect(server.dsn("postgres", name))
    try:
        for statement in statements:
            await connection.execute(statement.replace("{w}", str(world)))
    finally:
        await connection.close()
