"""All SQL of legal holds."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.audit import OPERATOR
from lapel.foundation.database.rows import fetch_only_value, fetch_row, fetch_rows
from lapel.slices.erasure.wire import HoldSubject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow


class HoldRow(msgspec.Struct, frozen=True):
    """One legal hold. It is in force while `released_at` is None."""

    id: str
    resource_type: HoldSubject
    resource_id: str
    reason: str | None
    placed_by_kind: str
    placed_by_id: str | None
    created_at: datetime
    released_by_kind: str | None
    released_by_id: str | None
    released_at: datetime | None


class ReleasedRow(msgspec.Struct, frozen=True):
    """A released hold whose postponed deletions are not all done."""

    world_id: int
    id: str


def held(row: str) -> str:
    """SQL for other slices: true if a legal hold keeps the recording of a row from being erased.

    The hold is the recording's own, or its end user's. `row`: the alias of the row's table, which has the
    columns `world_id`, `id` (the recording's) and `end_user_id`. Costs one look-up in the index of active
    holds.
    """
    return f"""EXISTS (
    SELECT FROM holds h WHERE h.world_id = {row}.world_id AND h.resource_id IN ({row}.id, {row}.end_user_id)
      AND h.released_at IS NULL)"""


def kept(row: str) -> str:
    """SQL: true if a hold keeps the resource of a ledger entry; without the holds of its recordings."""
    return f"""EXISTS (
    SELECT FROM holds h WHERE h.world_id = {row}.world_id AND h.resource_id = {row}.resource_id
      AND h.released_at IS NULL)"""


_COLUMNS = """
id, resource_type, resource_id, reason, placed_by_kind, placed_by_id, created_at, released_by_kind,
released_by_id, released_at
"""

INSERT = f"""
INSERT INTO holds (world_id, id, resource_type, resource_id, reason, placed_by_kind, placed_by_id, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (world_id, resource_id) WHERE released_at IS NULL DO NOTHING
RETURNING {_COLUMNS}
"""

# After a restore. The database may have the hold already, or another one of this resource.
INSERT_AGAIN = f"""
INSERT INTO holds (world_id, id, resource_type, resource_id, reason, placed_by_kind, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING
RETURNING {_COLUMNS}
"""

READ_ACTIVE = f"""
SELECT {_COLUMNS} FROM holds WHERE world_id = $1 AND resource_id = $2 AND released_at IS NULL
"""

KNOWS = """
SELECT EXISTS (SELECT FROM holds WHERE world_id = $1 AND id = $2)
    OR EXISTS (SELECT FROM holds WHERE world_id = $1 AND resource_id = $3 AND released_at IS NULL)
"""

READ_NEWEST = f"""
SELECT {_COLUMNS} FROM holds WHERE world_id = $1 AND resource_id = $2 AND resource_type = $3
ORDER BY created_at DESC, id DESC LIMIT 1
"""

READ_RELEASED = f"""
SELECT {_COLUMNS} FROM holds
WHERE world_id = $1 AND id = $2 AND released_at IS NOT NULL AND settled_at IS NULL
"""

RELEASE = f"""
UPDATE holds SET released_at = $3, released_by_kind = $4, released_by_id = $5
WHERE world_id = $1 AND resource_id = $2 AND resource_type = $6 AND released_at IS NULL
RETURNING {_COLUMNS}
"""

SETTLE = "UPDATE holds SET settled_at = $3 WHERE world_id = $1 AND id = $2 AND settled_at IS NULL"

# Over all worlds, because the worker's rounds serve the whole server.
FIND_UNSETTLED = """
SELECT world_id, id FROM holds
WHERE released_at IS NOT NULL AND settled_at IS NULL AND released_at <= $1 AND id <> ALL($3::text[])
ORDER BY released_at LIMIT $2
"""

# The text may be about a person, so it goes with the resource.
FORGET_REASONS = """
UPDATE holds SET reason = NULL WHERE world_id = $1 AND resource_id = ANY($2::text[]) AND reason IS NOT NULL
"""

# Four statements instead of one with `OR`, so that the prepared plan of each uses its own index.
LIST = f"""
SELECT {_COLUMNS} FROM holds WHERE world_id = $1 AND (created_at, id) < ($2, $3)
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

LIST_ACTIVE = f"""
SELECT {_COLUMNS} FROM holds
WHERE world_id = $1 AND released_at IS NULL AND (created_at, id) < ($2, $3)
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

LIST_RELEASED = f"""
SELECT {_COLUMNS} FROM holds
WHERE world_id = $1 AND released_at IS NOT NULL AND (created_at, id) < ($2, $3)
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

LIST_OF_RESOURCE = f"""
SELECT {_COLUMNS} FROM holds
WHERE world_id = $1 AND resource_id = $6 AND (created_at, id) < ($2, $3)
  AND ($7::boolean IS NULL OR (released_at IS NULL) = $7)
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""


async def insert(
    connection: Connection,
    world_id: int,
    hold_id: str,
    subject: tuple[HoldSubject, str],
    reason: str,
    actor: Actor,
    now: datetime,
) -> HoldRow | None:
    """Insert an active hold of a resource (type, id). None when the resource has one already."""
    return await fetch_row(
        connection, HoldRow, INSERT, world_id, hold_id, *subject, reason, actor.kind, actor.id, now
    )


async def insert_again(
    connection: Connection,
    world_id: int,
    hold_id: str,
    subject: tuple[HoldSubject, str],
    reason: str,
    now: datetime,
) -> HoldRow | None:
    """Insert a hold that the database has lost. None when it has this hold, or another one in force."""
    given = (world_id, hold_id, *subject, reason, OPERATOR, now)
    return await fetch_row(connection, HoldRow, INSERT_AGAIN, *given)


async def read_active(connection: Connection, world_id: int, resource_id: str) -> HoldRow | None:
    """The hold of a resource that is in force."""
    return await fetch_row(connection, HoldRow, READ_ACTIVE, world_id, resource_id)


async def is_held(connection: Connection, world_id: int, resource_id: str) -> bool:
    """Whether a hold on exactly this resource is in force."""
    return await read_active(connection, world_id, resource_id) is not None


async def knows_hold(connection: Connection, world_id: int, hold_id: str, resource_id: str) -> bool:
    """Whether there is this hold, released or not, or another one in force of the resource."""
    return await fetch_only_value(connection, bool, KNOWS, world_id, hold_id, resource_id)


async def read_newest(
    connection: Connection, world_id: int, subject: tuple[HoldSubject, str]
) -> HoldRow | None:
    """The newest hold of a resource (type, id), active or released."""
    resource_type, resource_id = subject
    return await fetch_row(connection, HoldRow, READ_NEWEST, world_id, resource_id, resource_type)


async def read_released_hold(connection: Connection, world_id: int, hold_id: str) -> HoldRow | None:
    """A released hold, until `settle_hold` is called for it."""
    return await fetch_row(connection, HoldRow, READ_RELEASED, world_id, hold_id)


async def release(
    connection: Connection, world_id: int, subject: tuple[HoldSubject, str], now: datetime, actor: Actor
) -> HoldRow | None:
    """Release the active hold of a resource (type, id). None when it has none."""
    resource_type, resource_id = subject
    given = (world_id, resource_id, now, actor.kind, actor.id, resource_type)
    return await fetch_row(connection, HoldRow, RELEASE, *given)


async def settle_hold(connection: Connection, world_id: int, hold_id: str, now: datetime) -> None:
    """Store that all deletions that a released hold postponed are done, or wait for another hold."""
    await connection.execute(SETTLE, world_id, hold_id, now)


async def find_unsettled(
    connection: Connection, released_before: datetime, limit: int, without: Sequence[str]
) -> list[ReleasedRow]:
    """Released holds whose deletions should be done by now, longest released first; none of `without`."""
    return await fetch_rows(connection, ReleasedRow, FIND_UNSETTLED, released_before, limit, list(without))


async def forget_reasons(connection: Connection, world_id: int, resource_ids: Sequence[str]) -> None:
    """Remove the reasons of the holds of resources that are being erased."""
    await connection.execute(FORGET_REASONS, world_id, list(resource_ids))


async def list_page(
    connection: Connection, world_id: int, asked: PageWindow, active: bool | None, resource_id: str | None
) -> list[HoldRow]:
    """Rows of one page, plus one row that tells whether more follow. A filter of None admits any row."""
    window = (world_id, asked.before_time, asked.before_id, asked.fetch, asked.offset)
    if resource_id is not None:
        return await fetch_rows(connection, HoldRow, LIST_OF_RESOURCE, *window, resource_id, active)
    if active is None:
        return await fetch_rows(connection, HoldRow, LIST, *window)
    return await fetch_rows(connection, HoldRow, LIST_ACTIVE if active else LIST_RELEASED, *window)
