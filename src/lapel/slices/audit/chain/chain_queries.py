"""All SQL of the chain of a world's audit log, and of its checkpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.actors import Mode
from lapel.foundation.database.audit import ENTRIES, ERASE_DETAILS_OF_ENTRIES, is_queued
from lapel.foundation.database.rows import fetch_only_row, fetch_row, fetch_rows, fetch_value, fetch_values
from lapel.slices.end_users.service import present

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection


class ChainedEntry(msgspec.Struct, frozen=True):
    """The part of an entry that the chain holds."""

    id: str
    created_at: datetime
    actor_kind: str
    actor_id: str | None
    action: str
    resource_type: str
    resource_id: str | None
    request_id: str | None
    details_hash: bytes


class TipRow(msgspec.Struct, frozen=True):
    """The newest link of a chain."""

    number: int
    hash: bytes


class CheckpointRow(msgspec.Struct, frozen=True):
    """A checkpoint; `position` counts the checkpoints of a world, `number` the entries that it covers."""

    position: int
    number: int
    created_at: datetime
    token: str


class NamedWorldRow(msgspec.Struct, frozen=True):
    """The project and mode of a world."""

    project_id: str
    mode: Mode


class LinkRow(msgspec.Struct, frozen=True):
    """A link of a chain with its entry. `id` is None when the entry is missing, and `details` is None when
    they were erased; the other columns of a missing entry are NULL as well."""

    number: int
    entry_id: str
    hash: bytes
    id: str | None
    created_at: datetime | None
    actor_kind: str | None
    actor_id: str | None
    action: str | None
    resource_type: str | None
    resource_id: str | None
    request_id: str | None
    details_hash: bytes | None
    salt: bytes | None
    details: str | None


LOCK_CHAIN = "SELECT pg_advisory_xact_lock($1)"

_ENTRY = """a.id, a.created_at, a.actor_kind, a.actor_id, a.action, a.resource_type, a.resource_id,
    a.request_id, a.details_hash"""

# An entry that is in the chain is left out, although it should not be in the queue.
READ_ENTRIES = f"""
SELECT {_ENTRY} FROM {ENTRIES}
WHERE a.world_id = $1 AND a.id = ANY($2::text[]) AND NOT EXISTS (
    SELECT 1 FROM audit_chain c WHERE c.world_id = a.world_id AND c.entry_id = a.id)
ORDER BY a.id
"""

# A request that runs while its end user is deleted may write its entry after the erasure of the details.
# Each entry is chained once, after its commit: then the erasure is yet to come, or this statement sees the
# deletion.
ERASE_LATE_DETAILS = f"{ERASE_DETAILS_OF_ENTRIES} AND NOT {present('d')}"

READ_TIP = "SELECT number, hash FROM audit_chain WHERE world_id = $1 ORDER BY number DESC LIMIT 1"
READ_HASH = "SELECT hash FROM audit_chain WHERE world_id = $1 AND number = $2"
APPEND = """
INSERT INTO audit_chain (world_id, number, entry_id, hash)
SELECT $1, number, entry_id, hash
FROM unnest($2::bigint[], $3::text[], $4::bytea[]) AS link (number, entry_id, hash)
"""

READ_NAME = "SELECT w.project_id, w.mode FROM worlds w WHERE w.id = $1"

READ_NEWEST_CHECKPOINT = """
SELECT position, number, created_at, token FROM audit_checkpoints
WHERE world_id = $1 ORDER BY position DESC LIMIT 1
"""
INSERT_CHECKPOINT = """
INSERT INTO audit_checkpoints (world_id, position, number, created_at, token) VALUES ($1, $2, $3, $4, $5)
"""
# $1: the time before which a checkpoint is old; $2: the first part of the tokens that the present key signs.
FIND_DUE_CHECKPOINTS = """
SELECT w.id FROM worlds w
CROSS JOIN LATERAL (
    SELECT c.number FROM audit_chain c WHERE c.world_id = w.id ORDER BY c.number DESC LIMIT 1) AS tip
LEFT JOIN LATERAL (
    SELECT p.number, p.created_at, p.token FROM audit_checkpoints p
    WHERE p.world_id = w.id ORDER BY p.position DESC LIMIT 1) AS newest ON true
WHERE newest.number IS NULL OR (newest.number < tip.number AND newest.created_at <= $1)
    OR NOT starts_with(newest.token, $2)
ORDER BY w.id
"""

# LATERAL: one look-up for each link, also while there are no statistics of a table that has just grown.
READ_LINKS = f"""
WITH links AS MATERIALIZED (
    SELECT c.world_id, c.number, c.entry_id, c.hash FROM audit_chain c
    WHERE c.world_id = $1 AND c.number > $2 ORDER BY c.number LIMIT $3
)
SELECT l.number, l.entry_id, l.hash, e.*
FROM links l LEFT JOIN LATERAL (
    SELECT {_ENTRY}, d.salt, d.details FROM {ENTRIES}
    WHERE a.world_id = l.world_id AND a.id = l.entry_id LIMIT 1) AS e ON true
ORDER BY l.number
"""
READ_CHECKPOINTS = """
SELECT position, number, created_at, token FROM audit_checkpoints
WHERE world_id = $1 AND position > $2 AND number <= $3 ORDER BY position LIMIT $4
"""
FIND_CHECKPOINT_WITHOUT_LINK = """
SELECT p.number FROM audit_checkpoints p
WHERE p.world_id = $1 AND NOT EXISTS (
    SELECT 1 FROM audit_chain c WHERE c.world_id = p.world_id AND c.number = p.number)
ORDER BY p.number LIMIT 1
"""
# Of the entries after an id: the last id of the batch, and the first entry that no link and no place in the
# queue names.
FIND_STRAY = f"""
SELECT max(batch.id), min(batch.id) FILTER (WHERE NOT batch.known)
FROM (
    SELECT a.id, c.entry_id IS NOT NULL OR {is_queued("a")} AS known
    FROM {ENTRIES} LEFT JOIN audit_chain c ON c.world_id = a.world_id AND c.entry_id = a.id
    WHERE a.world_id = $1 AND a.id > $2 ORDER BY a.id LIMIT $3) AS batch
"""


_BACKUP = "d.details::json -> 'after' ->> 'backup_created_at'"
# The first restore after the second $2, from a backup that was begun before the end of that second.
FIND_RESTORE = f"""
SELECT a.created_at, {_BACKUP} AS backup_created_at FROM {ENTRIES}
WHERE a.world_id = $1 AND a.action = 'project.restored' AND a.created_at >= $2
    AND ({_BACKUP})::timestamptz < $2 + interval '1 second'
ORDER BY a.created_at LIMIT 1
"""

FIND_LAST_RESTORE = f"""
SELECT a.created_at, {_BACKUP} AS backup_created_at FROM {ENTRIES}
WHERE a.world_id = $1 AND a.action = 'project.restored'
ORDER BY a.created_at DESC, a.id DESC LIMIT 1
"""

# The tables that must only grow, if the role of this connection may change or delete their rows.
CHANGEABLE_TABLES = """
SELECT relname::text FROM pg_class
WHERE oid IN ('audit_log'::regclass, 'audit_chain'::regclass, 'audit_checkpoints'::regclass)
    AND has_table_privilege(oid, 'UPDATE, DELETE, TRUNCATE')
ORDER BY relname
"""


class RestoreRow(msgspec.Struct, frozen=True):
    """A restore of the log; the time of the backup is written as the API writes times."""

    created_at: datetime
    backup_created_at: str


class StrayRow(msgspec.Struct, frozen=True):
    """The last entry of a batch, and its first entry that is not in the chain; None: none."""

    max: str | None
    min: str | None


async def changeable_tables(connection: Connection) -> list[str]:
    """The tables of the log whose rows the connection's role may change or delete."""
    return await fetch_values(connection, str, CHANGEABLE_TABLES)


async def find_restore(connection: Connection, world_id: int, at: datetime) -> RestoreRow | None:
    """The restore by which a world lost what it had at this time; None when there was none."""
    return await fetch_row(connection, RestoreRow, FIND_RESTORE, world_id, at)


async def find_last_restore(connection: Connection, world_id: int) -> RestoreRow | None:
    """The newest restore that the log of a world tells of."""
    return await fetch_row(connection, RestoreRow, FIND_LAST_RESTORE, world_id)


async def lock_chain(connection: Connection, world_id: int) -> None:
    """Lock a world's chain against other workers until the transaction ends."""
    digest = hashlib.blake2b(f"audit-chain:{world_id}".encode(), digest_size=8).digest()
    await connection.execute(LOCK_CHAIN, int.from_bytes(digest, "big", signed=True))


async def read_entries(connection: Connection, world_id: int, entry_ids: Sequence[str]) -> list[ChainedEntry]:
    """Entries that are not in the chain yet, in the order of their ids."""
    return await fetch_rows(connection, ChainedEntry, READ_ENTRIES, world_id, entry_ids)


async def erase_late_details(connection: Connection, world_id: int, entry_ids: Sequence[str]) -> None:
    """Delete the details of those of these entries whose end user is deleted."""
    await connection.execute(ERASE_LATE_DETAILS, world_id, entry_ids)


async def read_tip(connection: Connection, world_id: int) -> TipRow | None:
    """The newest link of a world's chain."""
    return await fetch_row(connection, TipRow, READ_TIP, world_id)


async def read_hash(connection: Connection, world_id: int, number: int) -> bytes | None:
    """The hash of a link."""
    return await fetch_value(connection, bytes, READ_HASH, world_id, number)


async def append(
    connection: Connection, world_id: int, numbers: Sequence[int], ids: Sequence[str], hashes: Sequence[bytes]
) -> None:
    """Add links to a world's chain."""
    await connection.execute(APPEND, world_id, numbers, ids, hashes)


async def read_name(connection: Connection, world_id: int) -> NamedWorldRow:
    """The project and mode of a world."""
    return await fetch_only_row(connection, NamedWorldRow, READ_NAME, world_id)


async def newest_checkpoint(connection: Connection, world_id: int) -> CheckpointRow | None:
    """The newest checkpoint of a world."""
    return await fetch_row(connection, CheckpointRow, READ_NEWEST_CHECKPOINT, world_id)


async def insert_checkpoint(connection: Connection, world_id: int, row: CheckpointRow) -> None:
    """Add a checkpoint."""
    await connection.execute(INSERT_CHECKPOINT, world_id, row.position, row.number, row.created_at, row.token)


async def find_due_checkpoints(connection: Connection, before: datetime, head: str) -> list[int]:
    """The worlds whose chain has grown since a checkpoint before `before`, or whose newest checkpoint was
    signed under another key than tokens that begin with `head`."""
    return await fetch_values(connection, int, FIND_DUE_CHECKPOINTS, before, head)


async def read_links(connection: Connection, world_id: int, after: int, limit: int) -> list[LinkRow]:
    """The links after a number, in order."""
    return await fetch_rows(connection, LinkRow, READ_LINKS, world_id, after, limit)


async def read_checkpoints(
    connection: Connection, world_id: int, after: int, up_to: int, limit: int
) -> list[CheckpointRow]:
    """The checkpoints after a position that cover at most `up_to` entries, in order."""
    return await fetch_rows(connection, CheckpointRow, READ_CHECKPOINTS, world_id, after, up_to, limit)


async def find_checkpoint_without_link(connection: Connection, world_id: int) -> int | None:
    """The number of the first checkpoint whose link is missing."""
    return await fetch_value(connection, int, FIND_CHECKPOINT_WITHOUT_LINK, world_id)


async def find_stray(connection: Connection, world_id: int, after: str, limit: int) -> StrayRow:
    """Look at `limit` entries after an id."""
    return await fetch_only_row(connection, StrayRow, FIND_STRAY, world_id, after, limit)
