"""All SQL that reads the audit log; foundation/database/audit.py writes it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.clock import EPOCH
from lapel.foundation.database.audit import ENTRIES
from lapel.foundation.database.rows import fetch_rows
from lapel.foundation.http.input.pagination import BEFORE_ALL
from lapel.slices.end_users.service import present

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow


class AuditRow(msgspec.Struct, frozen=True):
    """One entry of the audit log. `details` is a JSON text, None after its erasure; `number` and `hash` are
    the entry's place in the chain."""

    id: str
    actor_kind: str
    actor_id: str | None
    action: str
    resource_type: str
    resource_id: str | None
    request_id: str | None
    created_at: datetime
    details_hash: bytes
    salt: bytes | None
    details: str | None
    number: int | None
    hash: bytes | None


# The details of a deleted end user are hidden at once; a job removes them.
_ENTRIES = f"""
SELECT a.id, a.actor_kind, a.actor_id, a.action, a.resource_type, a.resource_id, a.request_id, a.created_at,
    a.details_hash, d.salt, d.details, c.number, c.hash
FROM {ENTRIES} AND {present("d")}
LEFT JOIN audit_chain c ON c.world_id = a.world_id AND c.entry_id = a.id
WHERE a.world_id = $1
"""

_PAGE = f"""{_ENTRIES}
    AND (a.created_at, a.id) < ($2, $3) AND a.created_at >= $6 AND a.created_at < $7
    AND ($8::text IS NULL OR a.resource_type = $8)
    AND ($9::text IS NULL OR a.resource_id = $9)
    AND ($10::text IS NULL OR coalesce(a.actor_id, a.actor_kind) = $10)
    AND ($11::text IS NULL OR a.action = $11)
    AND {{indexed}}
ORDER BY a.created_at DESC, a.id DESC LIMIT $4 OFFSET $5
"""

# The condition of the index that a prepared plan uses, by the filter. The other conditions are compared with
# the rows that this index finds.
LIST = {
    "resource": _PAGE.format(indexed="a.resource_id = $9"),
    "actor": _PAGE.format(indexed="coalesce(a.actor_id, a.actor_kind) = $10"),
    "action": _PAGE.format(indexed="a.action = $11"),
    "type": _PAGE.format(indexed="a.resource_type = $8"),
    "none": _PAGE.format(indexed="true"),
}

EXPORT = f"""{_ENTRIES}
    AND (a.created_at, a.id) > ($2, $3) AND a.created_at < $4
ORDER BY a.created_at, a.id LIMIT $5
"""

# Index: audit_details_of_end_user.
OF_END_USER = f"""{_ENTRIES}
    AND d.end_user_id = $2 AND d.entry_id < $3
ORDER BY d.entry_id DESC LIMIT $4
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which entries a list shows; None: all. `actor` is an id, or the kind of an actor without an id."""

    resource_type: str | None = None
    resource_id: str | None = None
    actor: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def index(self) -> str:
        """The key of the statement in LIST: the given filter that finds the fewest rows."""
        given = {
            "resource": self.resource_id,
            "actor": self.actor,
            "action": self.action,
            "type": self.resource_type,
        }
        return next((name for name, value in given.items() if value is not None), "none")


async def list_page(
    connection: Connection, world_id: int, asked: PageWindow, filters: Filters
) -> list[AuditRow]:
    """Rows of one page, plus one row that tells whether more follow."""
    before = asked.before_time, asked.before_id
    if filters.until is not None:  # so that the index is read from there
        before = min(before, (filters.until, ""))
    return await fetch_rows(
        connection,
        AuditRow,
        LIST[filters.index],
        world_id,
        *before,
        asked.fetch,
        asked.offset,
        filters.since or EPOCH,
        filters.until or BEFORE_ALL[0],
        filters.resource_type,
        filters.resource_id,
        filters.actor,
        filters.action,
    )


async def list_after(
    connection: Connection, world_id: int, after: tuple[datetime, str], until: datetime, limit: int
) -> list[AuditRow]:
    """Entries between a time and id, both exclusive, and a time, oldest first; `limit` at most."""
    return await fetch_rows(connection, AuditRow, EXPORT, world_id, *after, until, limit)


async def list_of_end_user(
    connection: Connection, world_id: int, end_user_id: str, before: str, limit: int
) -> list[AuditRow]:
    """Entries that belong to an end user, before an id, newest first; `limit` at most."""
    return await fetch_rows(connection, AuditRow, OF_END_USER, world_id, end_user_id, before, limit)
