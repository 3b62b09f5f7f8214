"""All SQL that reads the ledger for its lines outside of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.batches import columns
from lapel.foundation.database.rows import fetch_row, fetch_value, fetch_values
from lapel.slices.erasure.hold_queries import kept
from lapel.slices.erasure.outside.ledger_lines import LedgerLine
from lapel.slices.erasure.wire import State, Subject

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from lapel.foundation.database.connection import Connection


class EntryStateRow(msgspec.Struct, frozen=True):
    """The entry of a resource, and its state."""

    id: str
    state: State


_LINE = "e.id, w.project_id, w.mode, e.resource_type, e.resource_id, e.reason, e.created_at, e.recording_id"

# If a hold keeps only recordings of an end user, the end user's entry is held, and the fields are erased.
_HELD_FOR_RECORDINGS = f"(e.state = 'held' AND e.resource_type = 'end_user' AND NOT {kept('e')})"

READ_LINE = f"""
SELECT {_LINE} FROM erasures e JOIN worlds w ON w.id = e.world_id
WHERE e.world_id = $1 AND e.resource_type = $2 AND e.resource_id = $3
  AND (e.state = 'open' OR {_HELD_FOR_RECORDINGS})
"""

# The whole ledger of the server, for the operator. What a hold keeps is not erased yet. The line of an end
# user also stands for the recordings that were deleted with the end user.
EXPORT = f"""
SELECT {_LINE} FROM erasures e JOIN worlds w ON w.id = e.world_id
WHERE (e.state <> 'held' OR {_HELD_FOR_RECORDINGS}) AND e.reason <> 'end_user_deleted'
ORDER BY e.world_id, e.id
"""

# Of lines of any worlds: the places of those whose resources have an entry that EXPORT writes, or for which
# it writes that of the end user. What a hold keeps here may be erased in another copy of the database.
FIND_ENTERED = f"""
SELECT line.place FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
    WITH ORDINALITY AS line (project_id, mode, resource_type, resource_id, place)
JOIN worlds w ON w.project_id = line.project_id AND w.mode = line.mode
JOIN erasures e ON e.world_id = w.id AND e.resource_type = line.resource_type
    AND e.resource_id = line.resource_id AND (e.state <> 'held' OR {_HELD_FOR_RECORDINGS})
"""

READ_STATE = """
SELECT id, state FROM erasures WHERE world_id = $1 AND resource_type = $2 AND resource_id = $3
"""

# What a legal hold keeps hidden, of resources of a type.
FIND_HELD = """
SELECT resource_id FROM erasures
WHERE world_id = $1 AND resource_type = $2 AND resource_id = ANY($3::text[]) AND state = 'held'
ORDER BY resource_id
"""

FIND_WORLD = "SELECT id FROM worlds WHERE project_id = $1 AND mode = $2"


async def read_line(
    connection: Connection, world_id: int, resource_type: Subject, resource_id: str
) -> LedgerLine | None:
    """The line of a resource whose objects may remain; None when there is no open entry."""
    return await fetch_row(connection, LedgerLine, READ_LINE, world_id, resource_type, resource_id)


async def find_held(
    connection: Connection, world_id: int, resource_type: Subject, ids: Sequence[str]
) -> list[str]:
    """Those of these deleted resources that a legal hold keeps; of an end user, perhaps only recordings."""
    return await fetch_values(connection, str, FIND_HELD, world_id, resource_type, ids)


async def read_state(
    connection: Connection, world_id: int, resource_type: Subject, resource_id: str
) -> EntryStateRow | None:
    """The entry of a deleted resource."""
    return await fetch_row(connection, EntryStateRow, READ_STATE, world_id, resource_type, resource_id)


async def find_world(connection: Connection, project_id: str, mode: str) -> int | None:
    """The id of a world; None when the database does not have its project."""
    return await fetch_value(connection, int, FIND_WORLD, project_id, mode)


async def find_known(connection: Connection, asked: Sequence[tuple[str, str, str, str]]) -> list[int]:
    """The places in `asked` (project, mode, resource's type and id), counted from 1, of the resources that
    the database's ledger has."""
    return await fetch_values(connection, int, FIND_ENTERED, *columns(asked)) if asked else []


async def export(connection: Connection) -> AsyncGenerator[LedgerLine]:
    """Every line of the ledger, read with a cursor in the connection's transaction."""
    async for row in connection.cursor(EXPORT, prefetch=1000):
        yield LedgerLine(*row)
