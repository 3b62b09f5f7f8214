"""All SQL of end users."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.actors import Mode
from lapel.foundation.database.pool import affected
from lapel.foundation.database.rows import fetch_row, fetch_rows, fetch_value, fetch_values
from lapel.foundation.http.input.pagination import PLANNED_ANEW, from_start

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow


class EndUserRow(msgspec.Struct, frozen=True):
    """An end user; `metadata` is a JSON text."""

    id: str
    external_id: str | None
    name: str | None
    email: str | None
    metadata: str
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None


class HomeRow(msgspec.Struct, frozen=True):
    """The world of an end user."""

    world_id: int
    project_id: str
    mode: Mode


class TokenRow(msgspec.Struct, frozen=True):
    """The facts of an end user's token. `issued_by`: the id of the key that issued the token."""

    created_at: datetime
    expires_at: datetime | None
    issued_by: str | None


_COLUMNS = "id, external_id, name, email, metadata, created_at, updated_at, deleted_at"

INSERT = f"""
INSERT INTO end_users (world_id, id, external_id, name, email, metadata, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
ON CONFLICT (world_id, external_id) WHERE deleted_at IS NULL AND external_id IS NOT NULL DO NOTHING
RETURNING {_COLUMNS}
"""

FIND_ID_BY_EXTERNAL_ID = """
SELECT id FROM end_users WHERE world_id = $1 AND external_id = $2 AND deleted_at IS NULL
"""

# $3: the only end user that the caller may see; NULL: all.
READ = f"""
SELECT {_COLUMNS} FROM end_users
WHERE world_id = $1 AND id = $2 AND ($3::text IS NULL OR id = $3) AND deleted_at IS NULL
"""

# For the operator's command, which knows only the id.
FIND_IN_ANY_WORLD = """
SELECT w.id AS world_id, w.project_id, w.mode
FROM worlds w JOIN end_users e ON e.world_id = w.id AND e.id = $1 WHERE e.deleted_at IS NULL
"""

# Three statements instead of one with `OR`, so that the prepared plan of each uses its own index.
LIST = f"""
SELECT {_COLUMNS} FROM end_users
WHERE world_id = $1 AND deleted_at IS NULL AND (created_at, id) < ($2, $3)
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

LIST_FROM_START = from_start(LIST)

LIST_BY_EXTERNAL_ID = f"""
SELECT {_COLUMNS} FROM end_users
WHERE world_id = $1 AND deleted_at IS NULL AND (created_at, id) < ($2, $3) AND external_id = $6
  AND {PLANNED_ANEW}
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

LIST_OWN = f"""
SELECT {_COLUMNS} FROM end_users
WHERE world_id = $1 AND deleted_at IS NULL AND (created_at, id) < ($2, $3) AND id = $6
  AND ($7::text IS NULL OR external_id = $7) AND {PLANNED_ANEW}
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

# This lock waits for a running deletion of the end user, and a deletion waits for this lock.
LOCK_AGAINST_DELETION = """
SELECT 1 FROM end_users WHERE world_id = $1 AND id = $2 AND deleted_at IS NULL FOR SHARE
"""

# For other slices' reads: a row, if the end user is there and not deleted. Locks nothing.
ACTIVE_END_USER = "SELECT 1 FROM end_users WHERE world_id = $1 AND id = $2 AND deleted_at IS NULL"

# $4, $6, $8 and $10 say whether the request has the field.
UPDATE = f"""
UPDATE end_users SET
    updated_at = $3,
    external_id = CASE WHEN $4::boolean THEN $5 ELSE external_id END,
    name = CASE WHEN $6::boolean THEN $7 ELSE name END,
    email = CASE WHEN $8::boolean THEN $9 ELSE email END,
    metadata = CASE WHEN $10::boolean THEN $11 ELSE metadata END
WHERE world_id = $1 AND id = $2 AND deleted_at IS NULL
RETURNING {_COLUMNS}
"""

# From here on no answer shows the end user. This statement also locks the row: a hold comes before or after.
HIDE_PERSON = """
UPDATE end_users SET deleted_at = $3, updated_at = $3 WHERE world_id = $1 AND id = $2 AND deleted_at IS NULL
"""

# The id and the times stay, because recordings that are being erased still refer to the end user.
ERASE_PERSON = """
UPDATE end_users SET external_id = NULL, name = NULL, email = NULL, metadata = '{}'
WHERE world_id = $1 AND id = $2 AND deleted_at IS NOT NULL
"""

# Also of a deleted end user, so that no hold is placed until the transaction ends.
SHARE = "SELECT 1 FROM end_users WHERE world_id = $1 AND id = $2 FOR SHARE"

# In order of id, so that two transactions that lock some end users never wait for each other.
SHARE_ALL = "SELECT 1 FROM end_users WHERE world_id = $1 AND id = ANY($2::text[]) ORDER BY id FOR SHARE"

# Also of a deleted end user. Waits for every transaction that has the lock of SHARE or HIDE_PERSON.
LOCK_EVEN_DELETED = """
SELECT deleted_at IS NOT NULL FROM end_users WHERE world_id = $1 AND id = $2 FOR NO KEY UPDATE
"""

# For a transaction of another slice that changes what belongs to the end user.
LOCK_END_USER = """
SELECT 1 FROM end_users WHERE world_id = $1 AND id = $2 AND deleted_at IS NULL FOR NO KEY UPDATE
"""

FIND_PRESENT = """
SELECT id FROM end_users WHERE world_id = $1 AND id = ANY($2::text[]) AND deleted_at IS NULL
"""

COUNT_END_USERS = "SELECT count(*) FROM end_users e WHERE e.world_id = $1 AND e.deleted_at IS NULL"

READ_TOKEN = """
SELECT t.created_at, t.expires_at, t.issued_by FROM end_user_tokens t
WHERE t.world_id = $1 AND t.end_user_id = $2
"""

PUT_TOKEN = """
INSERT INTO end_user_tokens
    (token_hash, secret_id, world_id, end_user_id, created_at, expires_at, issued_by)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (world_id, end_user_id) DO UPDATE SET
    token_hash = excluded.token_hash, secret_id = excluded.secret_id, created_at = excluded.created_at,
    expires_at = excluded.expires_at, issued_by = excluded.issued_by
"""

DELETE_TOKEN = "DELETE FROM end_user_tokens WHERE world_id = $1 AND end_user_id = $2"


async def insert(
    connection: Connection,
    world_id: int,
    end_user_id: str,
    external_id: str | None,
    name: str | None,
    email: str | None,
    metadata: str,
    now: datetime,
) -> EndUserRow | None:
    """Insert an end user. None when an active end user has the external id."""
    return await fetch_row(
        connection, EndUserRow, INSERT, world_id, end_user_id, external_id, name, email, metadata, now
    )


async def find_id_by_external_id(connection: Connection, world_id: int, external_id: str) -> str | None:
    """The id of the active end user with this external id."""
    return await fetch_value(connection, str, FIND_ID_BY_EXTERNAL_ID, world_id, external_id)


async def read(
    connection: Connection, world_id: int, end_user_id: str, only: str | None
) -> EndUserRow | None:
    """One active end user, if the caller may see this end user."""
    return await fetch_row(connection, EndUserRow, READ, world_id, end_user_id, only)


async def find_in_any_world(connection: Connection, end_user_id: str) -> HomeRow | None:
    """The world of an active end user."""
    return await fetch_row(connection, HomeRow, FIND_IN_ANY_WORLD, end_user_id)


async def read_token(connection: Connection, world_id: int, end_user_id: str) -> TokenRow | None:
    """The facts of the end user's token, if there is one."""
    return await fetch_row(connection, TokenRow, READ_TOKEN, world_id, end_user_id)


async def list_page(
    connection: Connection, world_id: int, asked: PageWindow, external_id: str | None, only: str | None
) -> list[EndUserRow]:
    """Rows of one page, plus one row that tells whether more follow."""
    window = (world_id, asked.before_time, asked.before_id, asked.fetch, asked.offset)
    if only is not None:
        return await fetch_rows(connection, EndUserRow, LIST_OWN, *window, only, external_id)
    if external_id is not None:
        return await fetch_rows(connection, EndUserRow, LIST_BY_EXTERNAL_ID, *window, external_id)
    return await fetch_rows(connection, EndUserRow, LIST if asked.offset else LIST_FROM_START, *window)


async def lock_against_deletion(connection: Connection, world_id: int, end_user_id: str) -> bool:
    """Whether the end user is active. An active end user stays active until the transaction ends."""
    return await connection.fetchval(LOCK_AGAINST_DELETION, world_id, end_user_id) is not None


async def update(
    connection: Connection,
    world_id: int,
    end_user_id: str,
    now: datetime,
    *,
    external_id: tuple[bool, str | None],
    name: tuple[bool, str | None],
    email: tuple[bool, str | None],
    metadata: tuple[bool, str],
) -> EndUserRow | None:
    """Change an end user, and return its row. Each field is a pair: whether it is given, and its value.

    Raises UniqueViolationError when an active end user has the external id.
    """
    return await fetch_row(
        connection, EndUserRow, UPDATE, world_id, end_user_id, now, *external_id, *name, *email, *metadata
    )


async def find_present(connection: Connection, world_id: int, ids: Sequence[str]) -> list[str]:
    """Those of these end users that are not deleted."""
    return await fetch_values(connection, str, FIND_PRESENT, world_id, list(ids))


async def hide_person(connection: Connection, world_id: int, end_user_id: str, now: datetime) -> bool:
    """Mark an active end user as deleted. False when it is not active."""
    return await connection.execute(HIDE_PERSON, world_id, end_user_id, now) == "UPDATE 1"


async def erase_person(connection: Connection, world_id: int, end_user_id: str) -> None:
    """Erase the fields of a deleted end user."""
    await connection.execute(ERASE_PERSON, world_id, end_user_id)


async def share(connection: Connection, world_id: int, end_user_id: str) -> None:
    """Keep an end user, who may be deleted, from being deleted or held until the transaction ends.

    A deletion calls this before it reads whether a hold keeps a recording. So the job of a released hold
    waits for the deletion (`lock_even_deleted`).
    """
    await connection.execute(SHARE, world_id, end_user_id)


async def share_all(connection: Connection, world_id: int, end_user_ids: Collection[str]) -> None:
    """`share` for some end users."""
    await connection.execute(SHARE_ALL, world_id, list(end_user_ids))


async def lock_even_deleted(connection: Connection, world_id: int, end_user_id: str) -> bool:
    """Lock an end user until the transaction ends. Whether the end user is deleted.

    Waits for every running deletion of the end user or of one of its recordings.
    """
    return await fetch_value(connection, bool, LOCK_EVEN_DELETED, world_id, end_user_id) or False


async def lock(connection: Connection, world_id: int, end_user_id: str) -> bool:
    """Lock an active end user until the transaction ends. False when it is not active."""
    return await connection.fetchval(LOCK_END_USER, world_id, end_user_id) is not None


async def put_token(
    connection: Connection,
    world_id: int,
    end_user_id: str,
    token_hash: bytes,
    secret_id: str,
    now: datetime,
    *,
    expires_at: datetime | None,
    issued_by: str,
) -> None:
    """Store the end user's token, which replaces the previous token. `issued_by` is the id of a key."""
    await connection.execute(
        PUT_TOKEN, token_hash, secret_id, world_id, end_user_id, now, expires_at, issued_by
    )


async def delete_token(connection: Connection, world_id: int, end_user_id: str) -> bool:
    """Revoke the end user's token. False when there is none."""
    return affected(await connection.execute(DELETE_TOKEN, world_id, end_user_id)) > 0
