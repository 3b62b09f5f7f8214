"""Projects for tests: each test has its own, and another one beside it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lapel.foundation.identity.tokens import hint, new_token
from lapel.foundation.ports import Ports
from lapel.slices.projects.scopes import SCOPES

INSERT_ORGANIZATION = "INSERT INTO organizations (id, name, created_at) VALUES ($1, $2, $3)"
INSERT_PROJECT = "INSERT INTO projects (id, organization_id, name, created_at) VALUES ($1, $2, $3, $4)"
INSERT_WORLD = "INSERT INTO worlds (project_id, mode) VALUES ($1, $2) RETURNING id"
INSERT_KEY = """
INSERT INTO api_keys
    (world_id, id, secret_hash, kind, name, hint, scopes, end_user_id, expires_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
FORGET_KEYS = "DELETE FROM api_keys WHERE world_id = $1 AND secret_hash = ANY($2)"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A project with a secret key in each of its worlds."""

    project_id: str
    live_world: int
    test_world: int
    live_key: str
    test_key: str

    @property
    def headers(self) -> dict[str, str]:
        """Authorization by the test world's secret key."""
        return bearer(self.test_key)

    @property
    def live_headers(self) -> dict[str, str]:
        """Authorization by the live world's secret key."""
        return bearer(self.live_key)


def bearer(token: str) -> dict[str, str]:
    """The Authorization header of a token."""
    return {"Authorization": f"Bearer {token}"}


async def make_tenant(ports: Ports) -> Tenant:
    """A fresh project, written directly into the database."""
    project, live, test = await make_worlds(ports)
    live_key = await make_key(ports, live, "sk_live")
    test_key = await make_key(ports, test, "sk_test")
    return Tenant(project, live, test, live_key, test_key)


async def make_worlds(ports: Ports) -> tuple[str, int, int]:
    """A fresh project without keys: its id, its live and its test world."""
    now = ports.clock.now()
    organization, project = ports.ids.new("org"), ports.ids.new("proj")
    async with ports.database.transaction() as connection:
        await connection.execute(INSERT_ORGANIZATION, organization, "Test", now)
        await connection.execute(INSERT_PROJECT, project, organization, "Test", now)
        live: int = await connection.fetchval(INSERT_WORLD, project, "live")
        test: int = await connection.fetchval(INSERT_WORLD, project, "test")
    return project, live, test


async def make_key(
    ports: Ports,
    world_id: int,
    prefix: str,
    *,
    scopes: tuple[str, ...] = SCOPES,
    end_user_id: str | None = None,
    expires_at: datetime | None = None,
) -> str:
    """A key of a world, with exactly these scopes (a secret key has all of them)."""
    token = new_token(prefix)
    kind = "secret" if prefix.startswith("sk") else "restricted"
    async with ports.database.acquire() as connection:
        await connection.execute(
            INSERT_KEY,
            world_id,
            ports.ids.new("key"),
            ports.hasher.hash(token),
            kind,
            None,
            hint(token),
            list(scopes),
            end_user_id,
            expires_at,
            ports.clock.now(),
        )
    return token


async def forget_keys(ports: Ports, world_id: int, *tokens: str) -> None:
    """Delete keys that a test has made: `contents` reads all rows of a world, and takes longer for many."""
    hashes = [ports.hasher.hash(each) for each in tokens]
    async with ports.database.acquire() as connection:
        await connection.execute(FORGET_KEYS, world_id, hashes)


# All tables with rows of a world.
TABLES = """
SELECT table_name FROM information_schema.columns
WHERE column_name = 'world_id' AND table_name !~ '^search_vectors_[0-9]' ORDER BY 1
"""


# What `contents` looks at in each of them: the row, or its columns where one of them is left out.
ROWS = """
SELECT table_name, CASE WHEN bool_or(column_name = 'last_used_at')
    THEN format('ROW(%s)', string_agg(column_name, ',') FILTER (WHERE column_name <> 'last_used_at'))
    ELSE 't' END
FROM information_schema.columns WHERE table_name !~ '^search_vectors_[0-9]'
GROUP BY table_name HAVING bool_or(column_name = 'world_id')
ORDER BY table_name
"""
# The statement of `contents`; every database of the tests has the same tables, and asking for them is slow.
# The driver prepares a statement of more than 15 KiB anew each time, which takes longer than to run it.
_digests: list[str] = []


async def contents(ports: Ports, world_id: int) -> dict[str, str | None]:
    """A digest of the world's rows in each table, without `last_used_at`."""
    async with ports.database.acquire() as connection:
        if not _digests:
            _digests.extend(
                f"SELECT '{table}' AS name, md5(string_agg({row}::text,',' ORDER BY {row}::text)) AS digest"
                f" FROM {table} t WHERE world_id=$1"
                for table, row in await connection.fetch(ROWS)
            )
        rows = await connection.fetch(" UNION ALL ".join(_digests), world_id)
    return {row["name"]: row["digest"] for row in rows}
