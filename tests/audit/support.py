"""Entries to chain, and a database with a role that may tamper with them."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.database import audit
from lapel.foundation.http.operations import Operation
from lapel.foundation.ports import Ports

TABLES = ("audit_log", "audit_chain", "audit_checkpoints")
CHANGES = ("UPDATE {} SET world_id = world_id", "DELETE FROM {}", "TRUNCATE {}")
OF_REQUEST = "SELECT actor_kind, action FROM audit_log WHERE world_id = $1 AND request_id = $2"
# On the things of tests/contract/resources.py these operations change nothing, so they leave no entry. Their
# entries are in test_coverage.py.
CHANGING_NOTHING = {
    "cancel_firmware", "clear_config", "clear_device_config", "clear_end_user_config", "release_firmware",
    "replace_project_config", "resume_rollout",
}  # fmt: skip


async def entries_of_request(ports: Ports, world_id: int, request_id: str) -> list[tuple[str, str]]:
    """Actor and action of the entries that a request left."""
    async with ports.database.acquire() as connection:
        rows = await connection.fetch(OF_REQUEST, world_id, request_id)
    return [(row["actor_kind"], row["action"]) for row in rows]


def expected_entries(operation: Operation, kind: str) -> list[tuple[str, str]]:
    """The entries of a successful call by this kind of token to a thing of tests/contract/resources.py."""
    if operation.audit and operation.name not in CHANGING_NOTHING:
        return [(kind, operation.audit)]
    return []


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


async def refuses_changes(database: str) -> None:
    """Raises AssertionError if the application's role may change the log."""
    connection = await asyncpg.connect(database)
    try:
        for table in TABLES:
            for change in CHANGES:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(change.format(table))
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") is not None
    finally:
        await connection.close()
