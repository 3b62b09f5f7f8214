"""All SQL that reads holds for their lines outside of the database."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.actors import Mode
from lapel.foundation.database.batches import columns
from lapel.foundation.database.rows import fetch_rows, fetch_values
from lapel.slices.erasure.wire import HoldSubject

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from lapel.foundation.database.connection import Connection


class UntoldHoldRow(msgspec.Struct, frozen=True):
    """A hold that the bucket does not have yet, or whose release it does not have."""

    world_id: int
    id: str
    project_id: str
    mode: Mode
    resource_type: HoldSubject
    resource_id: str
    created_at: datetime
    released_at: datetime | None


_COLUMNS = """
h.world_id, h.id, w.project_id, w.mode, h.resource_type, h.resource_id, h.created_at, h.released_at
"""

# A server of an older release, during an update, stores a release without `is_told = false`.
_UNTOLD = "(NOT h.is_told OR h.released_at IS DISTINCT FROM h.told_released_at)"

FIND_UNTOLD = f"""
SELECT {_COLUMNS} FROM holds h JOIN worlds w ON w.id = h.world_id
WHERE h.world_id = $1 AND {_UNTOLD} ORDER BY h.id LIMIT $2
"""

# Over all worlds, because the worker's rounds serve the whole server.
FIND_UNTOLD_OF_ALL = f"""
SELECT {_COLUMNS} FROM holds h JOIN worlds w ON w.id = h.world_id
WHERE {_UNTOLD} ORDER BY h.world_id, h.id LIMIT $1
"""

# A hold that was released meanwhile stays untold.
SET_TOLD = """
UPDATE holds SET is_told = true, told_released_at = released_at
WHERE world_id = $1 AND id = $2 AND released_at IS NOT DISTINCT FROM $3
"""

# Of the whole server, for the operator.
EXPORT_HOLDS = f"""
SELECT {_COLUMNS} FROM holds h JOIN worlds w ON w.id = h.world_id
WHERE h.released_at IS NULL ORDER BY h.world_id, h.id
"""

# Of lines of any worlds: the places of the holds that the database has, in force or released.
FIND_KNOWN_HOLDS = """
SELECT line.place FROM unnest($1::text[], $2::text[], $3::text[])
    WITH ORDINALITY AS line (project_id, mode, id, place)
JOIN worlds w ON w.project_id = line.project_id AND w.mode = line.mode
JOIN holds h ON h.world_id = w.id AND h.id = line.id
"""


async def find_untold(connection: Connection, world_id: int | None, limit: int) -> list[UntoldHoldRow]:
    """Holds whose line in the bucket is missing or old, of a world or of all worlds."""
    if world_id is None:
        return await fetch_rows(connection, UntoldHoldRow, FIND_UNTOLD_OF_ALL, limit)
    return await fetch_rows(connection, UntoldHoldRow, FIND_UNTOLD, world_id, limit)


async def set_told(connection: Connection, row: UntoldHoldRow) -> None:
    """Store that the bucket has the lines of a hold as it was read."""
    await connection.execute(SET_TOLD, row.world_id, row.id, row.released_at)


async def find_known(connection: Connection, asked: Sequence[tuple[str, str, str]]) -> list[int]:
    """The places in `asked`, counted from 1, of the holds that the database has: project, mode and id."""
    return await fetch_values(connection, int, FIND_KNOWN_HOLDS, *columns(asked)) if asked else []


async def export(connection: Connection) -> AsyncGenerator[UntoldHoldRow]:
    """Every hold that is in force, read with a cursor in the connection's transaction."""
    async for row in connection.cursor(EXPORT_HOLDS, prefetch=1000):
        yield UntoldHoldRow(*row)
