"""All SQL of the copies on workers' disks; times are by the database's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection

CHANNEL = "lapel_copies"

PUT = """
INSERT INTO local_copies (world_id, recording_id, holder, renewed_at) VALUES ($1, $2, $3, now())
ON CONFLICT (world_id, recording_id, holder) DO UPDATE SET renewed_at = now()
"""

# Workers copy only audio, and a recording has one audio at most. So an entry of a media counts too.
IS_ERASED = """
SELECT 1 FROM erasures WHERE world_id = $1 AND resource_type = 'recording' AND resource_id = $2
UNION ALL SELECT 1 FROM erasures WHERE world_id = $1 AND recording_id = $2
"""

DELETE = "DELETE FROM local_copies WHERE world_id = $1 AND recording_id = $2 AND holder = $3"

# Rows that were not renewed for 7 days belong to lost machines. `COPIED` ignores such rows already.
DELETE_OF_HOLDERS = """
DELETE FROM local_copies WHERE holder = ANY($1::text[]) OR renewed_at < now() - interval '7 days'
"""

RENEW = """
UPDATE local_copies SET renewed_at = now() WHERE holder = $1 AND renewed_at < now() - interval '1 minute'
"""

ERASED_OF = """
SELECT c.world_id, c.recording_id FROM local_copies c
WHERE c.holder = $1 AND EXISTS (
    SELECT FROM erasures e
    WHERE e.world_id = c.world_id AND e.resource_type = 'recording' AND e.resource_id = c.recording_id
    UNION ALL
    SELECT FROM erasures e WHERE e.world_id = c.world_id AND e.recording_id = c.recording_id)
"""

# Runs in the deleting transaction, so that holders are notified when that transaction commits.
TELL_HOLDERS = f"""
SELECT pg_notify('{CHANNEL}', held.holder) FROM (
    SELECT DISTINCT holder FROM local_copies WHERE world_id = $1 AND recording_id = ANY($2::text[])) held
"""

# A holder that has not renewed its rows for a day counts as lost.
COPIED = """EXISTS (
    SELECT FROM local_copies c
    WHERE c.world_id = e.world_id AND c.recording_id = coalesce(e.recording_id, e.resource_id)
        AND c.renewed_at > now() - interval '24 hours')"""


async def put(connection: Connection, holder: str, world_id: int, recording_id: str) -> None:
    """Store that the holder will make a copy."""
    await connection.execute(PUT, world_id, recording_id, holder)


async def is_erased(connection: Connection, world_id: int, recording_id: str) -> bool:
    """Whether the ledger has an entry of the recording."""
    return await connection.fetchval(IS_ERASED, world_id, recording_id) is not None


async def delete(connection: Connection, holder: str, world_id: int, recording_id: str) -> None:
    """Delete the row of a holder's copy that is gone."""
    await connection.execute(DELETE, world_id, recording_id, holder)


async def delete_of_holders(connection: Connection, holders: Sequence[str]) -> None:
    """Delete the rows of these holders, and rows not renewed for 7 days."""
    await connection.execute(DELETE_OF_HOLDERS, list(holders))


async def renew(connection: Connection, holder: str) -> None:
    """Store that the holder is alive and still has its copies. Writes at most once a minute."""
    await connection.execute(RENEW, holder)


async def erased_of(connection: Connection, holder: str) -> set[tuple[int, str]]:
    """(world, recording) of the holder's copies whose recordings have an entry in the ledger."""
    return {(row["world_id"], row["recording_id"]) for row in await connection.fetch(ERASED_OF, holder)}


async def tell_holders(connection: Connection, world_id: int, recording_ids: Sequence[str]) -> None:
    """Notify the holders of copies of these recordings when this transaction commits."""
    await connection.execute(TELL_HOLDERS, world_id, list(recording_ids))
