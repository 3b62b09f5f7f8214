"""The audit log: actor, resource, and values before and after, written in the transaction of the change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.request_id import REQUEST_ID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.connection import Connection

# The actor on the command line: the operator of the machine, who has no token.
OPERATOR = "operator"

INSERT_ENTRY = """
INSERT INTO audit_log
    (world_id, id, actor_kind, actor_id, action, resource_type, resource_id, before, after, request_id,
     created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""

# Index: audit_log_of_resource.
EMPTY_ENTRIES = """
UPDATE audit_log SET before = NULL, after = NULL, resource_id = NULL WHERE world_id = $1 AND resource_id = $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of one resource. `before` and `after`: the changed part, as any JSON value. They must not
    contain secrets, because every reader of the log sees them."""

    action: str
    resource_type: str
    resource_id: str
    before: object
    after: object


async def record(
    connection: Connection,
    ids: Ids,
    now: datetime,
    *,
    worlds: Sequence[int],
    actor: Actor | None,
    change: Change,
) -> None:
    """Write an entry about a change into each of `worlds`. `actor` None stands for the operator."""
    kind, actor_id = (OPERATOR, None) if actor is None else (actor.kind, actor.id)
    what = (
        change.action,
        change.resource_type,
        change.resource_id,
        msgspec.json.encode(change.before).decode(),
        msgspec.json.encode(change.after).decode(),
        REQUEST_ID.get(),
        now,
    )
    await connection.executemany(
        INSERT_ENTRY, [(world_id, ids.new("aud"), kind, actor_id, *what) for world_id in worlds]
    )


async def erase(connection: Connection, world_id: int, resource_id: str) -> None:
    """Remove the id and the values from the entries about a deleted end user; time and actor stay."""
    await connection.execute(EMPTY_ENTRIES, world_id, resource_id)
