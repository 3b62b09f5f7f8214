"""The audit log: actor, resource, and values before and after, written in the transaction of the change.

An entry cannot be changed or deleted, by rights of the database. So what may be personal (the values, and the
client's address) is in a row of its own, which is deleted with its end user; the entry keeps a salted hash of
that row. The salt is deleted too, so nobody can guess the values and compare hashes.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from lapel.foundation.core.request_id import CLIENT_ADDRESS, REQUEST_ID
from lapel.foundation.database.batches import deleting_some
from lapel.foundation.database.rows import fetch_values

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.connection import Connection

# The actor on the command line: the operator of the machine, who has no token.
OPERATOR = "operator"
_SALT_BYTES = 16

INSERT_ENTRY = """
WITH entry AS (
    INSERT INTO audit_log
        (world_id, id, actor_kind, actor_id, action, resource_type, resource_id, request_id, created_at,
         details_hash)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
), unchained AS (
    INSERT INTO audit_unchained (world_id, entry_id) VALUES ($1, $2)
)
INSERT INTO audit_details (world_id, entry_id, end_user_id, salt, details) VALUES ($1, $2, $11, $12, $13)
"""

# Index: audit_details_of_end_user.
ERASE_DETAILS = deleting_some(
    "audit_details",
    "SELECT ctid FROM audit_details WHERE world_id = $1 AND end_user_id = $2 LIMIT $3 FOR UPDATE",
)

# SQL for the slice that chains the log: it adds the condition which of these details `d` go.
ERASE_DETAILS_OF_ENTRIES = (
    "DELETE FROM audit_details d WHERE d.world_id = $1 AND d.entry_id = ANY($2::text[])"
)
# SQL for the slice that shows the log: entries `a` with their details `d`, if these are not erased.
ENTRIES = """audit_log a LEFT JOIN audit_details d ON d.world_id = a.world_id AND d.entry_id = a.id"""


def is_queued(entry: str) -> str:
    """SQL condition: an entry waits for its place in the chain. `entry`: the alias of a row of the log."""
    return f"""EXISTS (
    SELECT 1 FROM audit_unchained u WHERE u.world_id = {entry}.world_id AND u.entry_id = {entry}.id)"""  # noqa: S608 - an alias in our own SQL


QUEUED_WORLDS = "SELECT DISTINCT world_id FROM audit_unchained ORDER BY world_id"
TAKE_QUEUED = """
DELETE FROM audit_unchained WHERE world_id = $1 AND entry_id = ANY(ARRAY(
    SELECT entry_id FROM audit_unchained WHERE world_id = $1 ORDER BY entry_id LIMIT $2))
RETURNING entry_id
"""


class Details(msgspec.Struct, frozen=True):
    """The part of an entry that can be erased. Its JSON text is frozen when the entry is written."""

    before: msgspec.Raw
    after: msgspec.Raw
    address: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of one resource. `before` and `after`: the changed part, as any JSON value. They must not
    contain secrets, because every reader of the log sees them."""

    action: str
    resource_type: str
    resource_id: str
    before: object = None
    after: object = None


@dataclass(frozen=True, slots=True)
class Provider:
    """A service that did work for Lapel, as the actor of what came of it; `id` is the name of the engine."""

    id: str
    kind: Literal["provider"] = "provider"
    end_user_id: None = None


@dataclass(frozen=True, slots=True)
class System:
    """The server itself, as the actor of what nobody asked for; `id` is the name of the acting slice."""

    id: str
    kind: Literal["system"] = "system"
    end_user_id: None = None


def happened(action: str, resource_id: str) -> Change:
    """A change without values. The type of the resource is the first part of `action`."""
    return Change(action=action, resource_type=action.partition(".")[0], resource_id=resource_id)


async def record(
    connection: Connection,
    ids: Ids,
    now: datetime,
    *,
    worlds: Sequence[int],
    actor: Actor | Provider | System | None,
    change: Change,
    about: str | None,
) -> None:
    """Write an entry about a change into each of `worlds`. `actor` None stands for the operator.

    `about`: the end user who is the resource, or to whom the resource belongs (docs/audit.md, "What can be
    erased"); None: nobody. The values and the address are erased with this end user, or with the actor's end
    user. The caller has locked a row that the deletion of this end user or its job waits for.
    """
    kind, actor_id, end_user_id = OPERATOR, None, about
    if actor is not None:
        kind, actor_id, end_user_id = actor.kind, actor.id, actor.end_user_id or about
    before, after = (msgspec.Raw(msgspec.json.encode(each)) for each in (change.before, change.after))
    details = msgspec.json.encode(Details(before, after, CLIENT_ADDRESS.get()))
    request_id = REQUEST_ID.get()
    rows: list[tuple[object, ...]] = []
    for world_id in worlds:
        salt = secrets.token_bytes(_SALT_BYTES)
        what = (change.action, change.resource_type, change.resource_id, request_id, now)
        erasable = (hash_of(salt, details), end_user_id, salt, details.decode())
        rows.append((world_id, ids.new("aud"), kind, actor_id, *what, *erasable))
    if len(rows) == 1:
        await connection.execute(INSERT_ENTRY, *rows[0])
    else:
        await connection.executemany(INSERT_ENTRY, rows)


async def record_work(
    connection: Connection,
    ids: Ids,
    now: datetime,
    *,
    world_id: int,
    provider: str,
    action: str,
    resource_id: str,
    about: str,
) -> None:
    """Write an entry about what came of a provider's work, such as `summary.completed`. `about`: see
    `record`."""
    await record(
        connection,
        ids,
        now,
        worlds=[world_id],
        actor=Provider(provider),
        change=happened(action, resource_id),
        about=about,
    )


async def note(
    connection: Connection,
    ids: Ids,
    now: datetime,
    actor: Actor,
    action: str,
    resource_id: str,
    about: str | None,
) -> None:
    """`record` a change without values in the actor's world."""
    change = happened(action, resource_id)
    await record(connection, ids, now, worlds=[actor.world_id], actor=actor, change=change, about=about)


def hash_of(salt: bytes, details: bytes) -> bytes:
    """The hash that an entry keeps of its details."""
    return hashlib.sha256(salt + details).digest()


async def queued_worlds(connection: Connection) -> list[int]:
    """The worlds that have entries which are not in a chain yet."""
    return await fetch_values(connection, int, QUEUED_WORLDS)


async def take_queued(connection: Connection, world_id: int, limit: int) -> list[str]:
    """Take the oldest entries, `limit` at most, that are not in the chain. The caller, who has locked the
    chain, adds them to it in the same transaction."""
    return await fetch_values(connection, str, TAKE_QUEUED, world_id, limit)


async def erase_some_details(connection: Connection, world_id: int, end_user_id: str, limit: int) -> int:
    """Delete the values and addresses, of `limit` entries at most, that concern a deleted end user.

    Returns the number of deleted rows; 0 when none is left.
    """
    return await connection.fetchval(ERASE_DETAILS, world_id, end_user_id, limit)
