"""All SQL that reads the ends of keys for their lines outside of the database."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.actors import Mode
from lapel.foundation.database.batches import columns
from lapel.foundation.database.rows import fetch_row, fetch_rows, fetch_values

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from lapel.foundation.database.connection import Connection


class EndedKeyRow(msgspec.Struct, frozen=True):
    """A key that was revoked, or that another key replaced (`retired_at`: the end of its overlap)."""

    world_id: int
    id: str
    project_id: str
    mode: Mode
    revoked_at: datetime | None
    retired_at: datetime | None
    issued_revoked_at: datetime | None


class KeyEndsRow(msgspec.Struct, frozen=True):
    """How a key ends, as the database knows it."""

    revoked_at: datetime | None
    expires_at: datetime | None
    issued_revoked_at: datetime | None


_RETIRED_AT = "CASE WHEN k.rotated_to IS NOT NULL THEN k.expires_at END"
_ENDED = "(k.revoked_at IS NOT NULL OR k.rotated_to IS NOT NULL)"
_COLUMNS = f"""
k.world_id, k.id, w.project_id, w.mode, k.revoked_at, {_RETIRED_AT} AS retired_at, k.issued_revoked_at
"""

# Of all worlds, because the worker's rounds serve the whole server. Compares with what was told and not with
# a flag, because a server of an older release, during an update, knows no flag. Index: api_keys_untold.
FIND_UNWRITTEN_ENDS = f"""
SELECT {_COLUMNS} FROM api_keys k JOIN worlds w ON w.id = k.world_id
WHERE {_ENDED} AND k.told_ends IS DISTINCT FROM ARRAY[k.revoked_at, {_RETIRED_AT}, k.issued_revoked_at]
ORDER BY k.world_id, k.id LIMIT $1
"""

# Stores what was read and told: an end that changed meanwhile stays untold.
MARK_ENDS_WRITTEN = "UPDATE api_keys SET told_ends = $3 WHERE world_id = $1 AND id = $2"

# Of the whole server, after a restore.
FORGET_WRITTEN_ENDS = "UPDATE api_keys SET told_ends = NULL WHERE told_ends IS NOT NULL"

# Of the whole server, for the operator.
EXPORT_ENDS = f"""
SELECT {_COLUMNS} FROM api_keys k JOIN worlds w ON w.id = k.world_id
WHERE {_ENDED} ORDER BY k.world_id, k.id
"""

# Of lines of any worlds: the places of those whose ends the database knows. A key that is revoked is not
# retired any more, and one that was rotated again may be retired sooner.
FIND_KNOWN_ENDS = """
SELECT line.place FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
    WITH ORDINALITY AS line (project_id, mode, key_id, kind, at, place)
JOIN worlds w ON w.project_id = line.project_id AND w.mode = line.mode
JOIN api_keys k ON k.world_id = w.id AND k.id = line.key_id
WHERE CASE line.kind
    WHEN 'issued-revoked' THEN k.issued_revoked_at IS NOT NULL
    WHEN 'retired' THEN k.revoked_at IS NOT NULL OR k.rotated_to IS NOT NULL AND k.expires_at <= line.at
    ELSE k.revoked_at IS NOT NULL
END
"""

# Locks the key, as every change of a key does.
LOCK_ENDS = """
SELECT revoked_at, expires_at, issued_revoked_at FROM api_keys WHERE world_id = $1 AND id = $2
FOR NO KEY UPDATE
"""


async def find_unwritten(connection: Connection, limit: int) -> list[EndedKeyRow]:
    """Keys of which the bucket has not every end."""
    return await fetch_rows(connection, EndedKeyRow, FIND_UNWRITTEN_ENDS, limit)


async def mark_written(connection: Connection, row: EndedKeyRow) -> None:
    """Store that the bucket has the ends of a key as they were read."""
    ends = [row.revoked_at, row.retired_at, row.issued_revoked_at]
    await connection.execute(MARK_ENDS_WRITTEN, row.world_id, row.id, ends)


async def forget_written(connection: Connection) -> None:
    """Store that the bucket has no end of any key."""
    await connection.execute(FORGET_WRITTEN_ENDS)


async def lock_ends(connection: Connection, world_id: int, key_id: str) -> KeyEndsRow | None:
    """How a key ends; the key is locked until the transaction ends. None when there is no such key."""
    return await fetch_row(connection, KeyEndsRow, LOCK_ENDS, world_id, key_id)


async def find_known(
    connection: Connection, asked: Sequence[tuple[str, str, str, str, datetime]]
) -> list[int]:
    """The places in `asked` (project, mode, key, end and its time), counted from 1, of the ends that are
    known."""
    return await fetch_values(connection, int, FIND_KNOWN_ENDS, *columns(asked)) if asked else []


async def export(connection: Connection) -> AsyncGenerator[EndedKeyRow]:
    """Every key that has ended, read with a cursor in the connection's transaction."""
    async for row in connection.cursor(EXPORT_ENDS, prefetch=1000):
        yield EndedKeyRow(*row)
