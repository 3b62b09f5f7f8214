"""The name that a device gives a recording (UUID and generation), for slices that upload it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from lapel.foundation.core.errors import Conflict
from lapel.slices.recordings.access import reach, unknown
from lapel.slices.recordings.records import identity_queries

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.slices.recordings.records.identity_queries import IdentityRow


async def find_identity(
    connection: Connection, actor: Actor, recording_id: str, *, lock: bool
) -> IdentityRow:
    """A recording and its name. `lock`: lock it until the transaction ends.

    Raises NotFound when the caller reaches no such recording.
    """
    row = await identity_queries.find(connection, reach(actor, recording_id), lock=lock)
    if row is None:
        raise unknown()
    return row


async def give_identity(
    connection: Connection,
    world_id: int,
    recording_id: str,
    recording_uuid: str,
    recording_generation: int,
    now: datetime,
) -> None:
    """Name a locked recording that has no name yet.

    Raises Conflict when the device gave this name to another recording. The transaction is then broken.
    """
    try:
        await identity_queries.set_identity(
            connection, world_id, recording_id, recording_uuid, recording_generation, now
        )
    except asyncpg.UniqueViolationError as error:
        raise Conflict(
            "This `recording_uuid` and `recording_generation` are those of another recording of the device."
        ) from error
