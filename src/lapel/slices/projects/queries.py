"""All SQL of organizations, projects, worlds and keys.

Statements without a world are for the operator (command line and first start), who owns all worlds.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from lapel.foundation.database.pool import affected
from lapel.foundation.database.rows import (
    fetch_only_row,
    fetch_only_value,
    fetch_row,
    fetch_rows,
    fetch_value,
    fetch_values,
)
from lapel.slices.projects.rows import KeyRow, ProjectRow, WorldRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lapel.foundation.core.actors import Mode
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow
    from lapel.slices.projects.grants import Grant

_COLUMNS = """id, kind, name, hint, scopes, end_user_id, expires_at, last_used_at, revoked_at, rotated_to,
    created_at"""

# Only one transaction at a time creates the first organization, project or key. The number is our own choice.
LOCK_TENANCY = "SELECT pg_advisory_xact_lock(7151420250124)"
FIRST_ORGANIZATION = "SELECT id FROM organizations ORDER BY created_at, id LIMIT 1"
ORGANIZATION_EXISTS = "SELECT EXISTS (SELECT 1 FROM organizations WHERE id = $1)"
INSERT_ORGANIZATION = "INSERT INTO organizations (id, name, created_at) VALUES ($1, $2, $3)"
INSERT_PROJECT = "INSERT INTO projects (id, organization_id, name, created_at) VALUES ($1, $2, $3, $4)"
INSERT_WORLDS = "INSERT INTO worlds (project_id, mode) VALUES ($1, 'live'), ($1, 'test') RETURNING id"
# For statements of other slices: worlds `w`, each with its project `p`.
WORLDS_IN_PROJECTS = "worlds w JOIN projects p ON p.id = w.project_id"
LIST_ORGANIZATIONS = "SELECT id, name FROM organizations ORDER BY created_at, id"
LOCK_ORGANIZATION_ROW = "SELECT 1 FROM organizations WHERE id = $1 FOR NO KEY UPDATE"
LIST_PROJECTS = "SELECT id, organization_id, name, created_at FROM projects ORDER BY created_at, id"
FIND_WORLD = "SELECT id FROM worlds WHERE project_id = $1 AND mode = $2"
LOCK_WORLD = f"{FIND_WORLD} FOR NO KEY UPDATE"
LIST_WORLDS = """
SELECT w.id, w.project_id, w.mode FROM worlds w JOIN projects p ON p.id = w.project_id
WHERE $1::text IS NULL OR p.id = $1 ORDER BY p.created_at, p.id, w.mode
"""

ANY_KEY = "SELECT EXISTS (SELECT 1 FROM api_keys)"
FIND_KEY_OF_ANY_WORLD = """
SELECT w.id, w.project_id, w.mode FROM api_keys k JOIN worlds w ON w.id = k.world_id WHERE k.id = $1
"""

INSERT_KEY = f"""
INSERT INTO api_keys
    (world_id, id, secret_hash, secret_id, kind, name, hint, scopes, end_user_id, expires_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
RETURNING {_COLUMNS}
"""

LIST_KEYS = f"""
SELECT {_COLUMNS} FROM api_keys
WHERE world_id = $1 AND (created_at, id) < ($2, $3)
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

LIST_KEYS_OF_END_USER = f"""
SELECT {_COLUMNS} FROM api_keys
WHERE world_id = $1 AND (created_at, id) < ($2, $3) AND end_user_id = $6
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

LIST_KEYS_OF_END_USERS = f"""
SELECT {_COLUMNS} FROM api_keys
WHERE world_id = $1 AND (created_at, id) < ($2, $3) AND end_user_id IS NOT NULL
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

READ_KEY = f"SELECT {_COLUMNS} FROM api_keys WHERE world_id = $1 AND id = $2"

# Locks the caller's key and the key that it acts on, always in the same order.
LOCK_KEYS = f"""
SELECT {_COLUMNS} FROM api_keys WHERE world_id = $1 AND id = ANY($2::text[])
ORDER BY id FOR NO KEY UPDATE
"""

REVOKE_KEY = """
UPDATE api_keys SET revoked_at = coalesce(revoked_at, $3),
    issued_revoked_at = CASE WHEN $4::boolean THEN coalesce(issued_revoked_at, $3) ELSE issued_revoked_at END
WHERE world_id = $1 AND id = $2
    AND (revoked_at IS NULL OR ($4::boolean AND issued_revoked_at IS NULL))
"""

RETIRE_KEY = """
UPDATE api_keys SET rotated_to = $3, expires_at = LEAST(expires_at, $4), revoked_at = $5
WHERE world_id = $1 AND id = $2
RETURNING expires_at
"""

COUNT_WORKING = """
SELECT count(*) FROM api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1)
"""

SHORTEN_KEY = "UPDATE api_keys SET expires_at = LEAST(expires_at, $3) WHERE world_id = $1 AND id = $2"

# Also erases the end user's id and the name, even of keys that were revoked before: no revoked key needs
# them.
REVOKE_KEYS_OF_END_USER = """
UPDATE api_keys SET revoked_at = coalesce(revoked_at, $3), end_user_id = NULL, name = NULL
WHERE world_id = $1 AND end_user_id = $2
RETURNING id
"""


# A locked row is skipped, because waiting for it could deadlock. The next use of the key updates the row.
RECORD_USE = """
WITH used AS (
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::timestamptz[]) AS u (world_id, id, used_at)
), free AS (
    SELECT k.world_id, k.id, u.used_at
    FROM api_keys k JOIN used u ON u.world_id = k.world_id AND u.id = k.id
    WHERE k.last_used_at IS NULL OR k.last_used_at < u.used_at
    FOR NO KEY UPDATE OF k SKIP LOCKED
)
UPDATE api_keys k SET last_used_at = f.used_at
FROM free f WHERE k.world_id = f.world_id AND k.id = f.id
"""


def project_of(world: str) -> str:
    """SQL for other slices: the project of a world. `world`: the world's id, an expression."""
    return f"(SELECT w.project_id FROM worlds w WHERE w.id = {world})"


async def lock_tenancy(connection: Connection) -> None:
    """Take the lock for creating the first organization, project or key, until the transaction ends."""
    await connection.execute(LOCK_TENANCY)


async def first_organization(connection: Connection) -> str | None:
    """The oldest organization."""
    return await fetch_value(connection, str, FIRST_ORGANIZATION)


async def organization_exists(connection: Connection, organization_id: str) -> bool:
    """Whether there is this organization."""
    return await fetch_only_value(connection, bool, ORGANIZATION_EXISTS, organization_id)


async def insert_organization(connection: Connection, organization_id: str, name: str, now: datetime) -> None:
    """Add an organization."""
    await connection.execute(INSERT_ORGANIZATION, organization_id, name, now)


async def insert_project(
    connection: Connection, project_id: str, organization_id: str, name: str, now: datetime
) -> list[int]:
    """Add a project. Returns the numbers of its worlds, live and test."""
    await connection.execute(INSERT_PROJECT, project_id, organization_id, name, now)
    return await fetch_values(connection, int, INSERT_WORLDS, project_id)


async def list_projects(connection: Connection) -> list[ProjectRow]:
    """Every project, oldest first."""
    return await fetch_rows(connection, ProjectRow, LIST_PROJECTS)


async def find_world(connection: Connection, project_id: str, mode: Mode) -> int | None:
    """The number of a project's world."""
    return await fetch_value(connection, int, FIND_WORLD, project_id, mode)


async def lock_world(connection: Connection, project_id: str, mode: Mode) -> int | None:
    """The number of a project's world. The world's row is locked until the transaction ends."""
    return await fetch_value(connection, int, LOCK_WORLD, project_id, mode)


async def list_worlds(connection: Connection, project_id: str | None) -> list[WorldRow]:
    """The worlds of a project; None: the worlds of all projects."""
    return await fetch_rows(connection, WorldRow, LIST_WORLDS, project_id)


async def any_key(connection: Connection) -> bool:
    """Whether any key was ever created."""
    return await fetch_only_value(connection, bool, ANY_KEY)


async def find_key_of_any_world(connection: Connection, key_id: str) -> WorldRow | None:
    """The world of a key."""
    return await fetch_row(connection, WorldRow, FIND_KEY_OF_ANY_WORLD, key_id)


async def insert_key(
    connection: Connection,
    world_id: int,
    key_id: str,
    secret_hash: bytes,
    secret_id: str,
    hint: str,
    grant: Grant,
    now: datetime,
) -> KeyRow:
    """Store a new key."""
    return await fetch_only_row(
        connection,
        KeyRow,
        INSERT_KEY,
        world_id,
        key_id,
        secret_hash,
        secret_id,
        grant.kind,
        grant.name,
        hint,
        grant.scopes,
        grant.end_user_id,
        grant.expires_at,
        now,
    )


async def list_keys(
    connection: Connection, world_id: int, asked: PageWindow, end_user_id: str | None
) -> list[KeyRow]:
    """Rows of one page, plus one row that tells whether more follow."""
    window = _window(world_id, asked)
    if end_user_id is not None:
        return await fetch_rows(connection, KeyRow, LIST_KEYS_OF_END_USER, *window, end_user_id)
    return await fetch_rows(connection, KeyRow, LIST_KEYS, *window)


async def list_keys_of_end_users(connection: Connection, world_id: int, asked: PageWindow) -> list[KeyRow]:
    """As `list_keys`, of the keys that are scoped to an end user."""
    return await fetch_rows(connection, KeyRow, LIST_KEYS_OF_END_USERS, *_window(world_id, asked))


def _window(world_id: int, asked: PageWindow) -> tuple[object, ...]:
    return (world_id, asked.before_time, asked.before_id, asked.fetch, asked.offset)


async def read_key(connection: Connection, world_id: int, key_id: str) -> KeyRow | None:
    """One key."""
    return await fetch_row(connection, KeyRow, READ_KEY, world_id, key_id)


async def lock_keys(connection: Connection, world_id: int, key_ids: list[str]) -> dict[str, KeyRow]:
    """Lock the keys of `key_ids` that exist until the transaction ends. Returns them by id."""
    return {row.id: row for row in await fetch_rows(connection, KeyRow, LOCK_KEYS, world_id, key_ids)}


async def revoke_key(
    connection: Connection, world_id: int, key_id: str, now: datetime, *, issued: bool
) -> bool:
    """Revoke a key and, with `issued`, its tokens. If the key was revoked before, the earlier time stays.

    False when nothing was left to revoke.
    """
    return affected(await connection.execute(REVOKE_KEY, world_id, key_id, now, issued)) > 0


async def retire_key(
    connection: Connection,
    world_id: int,
    key_id: str,
    successor_id: str,
    works_until: datetime,
    revoked_at: datetime | None,
) -> datetime:
    """Set a key's successor, and the key's end: `works_until` or earlier. Returns the end."""
    return await fetch_only_value(
        connection, datetime, RETIRE_KEY, world_id, key_id, successor_id, works_until, revoked_at
    )


async def count_working(connection: Connection, now: datetime) -> int:
    """The number of keys of the installation that work."""
    return await fetch_only_value(connection, int, COUNT_WORKING, now)


async def shorten_key(connection: Connection, world_id: int, key_id: str, ends_at: datetime) -> None:
    """Let a key end at this time, unless it ends earlier."""
    await connection.execute(SHORTEN_KEY, world_id, key_id, ends_at)


async def revoke_keys_of_end_user(
    connection: Connection, world_id: int, end_user_id: str, now: datetime
) -> list[str]:
    """Revoke every key that is scoped to an end user. Returns their ids."""
    return await fetch_values(connection, str, REVOKE_KEYS_OF_END_USER, world_id, end_user_id, now)


async def record_use(connection: Connection, used: Mapping[tuple[int, str], datetime]) -> None:
    """Record the last use of keys, by (world, id). If a later time is stored already, it stays."""
    await connection.execute(
        RECORD_USE,
        [world_id for world_id, _ in used],
        [key_id for _, key_id in used],
        list(used.values()),
    )
