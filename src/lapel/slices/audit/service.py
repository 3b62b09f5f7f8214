"""Reading the audit log. The slices write entries with their changes (foundation/database/audit.py)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.clock import EPOCH, timestamp
from lapel.foundation.database.audit import Details
from lapel.foundation.http.calls import Reply
from lapel.foundation.http.input.pagination import page, window
from lapel.foundation.http.large_responses import WHOLE_EXPORT
from lapel.slices.audit import queries
from lapel.slices.audit.queries import Filters
from lapel.slices.audit.wire import AuditActor, AuditEntry, AuditPage, AuditQuery, ChainLink

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.ports import Ports
    from lapel.slices.audit.queries import AuditRow
    from lapel.slices.audit.wire import AuditExportQuery

__all__ = ["AuditLog"]

# Few, because other requests wait while they are decoded and encoded. More would make an export that runs
# alone faster.
_EXPORTED_AT_ONCE = 20
_EXPORT_HEADERS = (
    ("Content-Type", "application/x-ndjson"),
    ("Content-Disposition", 'attachment; filename="audit-log.ndjson"'),
)
_LAST_ID = "~"
_details = msgspec.json.Decoder(Details)
_ERASED = Details(msgspec.Raw(b"null"), msgspec.Raw(b"null"), None)
_encode = msgspec.json.Encoder().encode


class AuditLog:
    """Reads the changes of a world and their actors.

    Every method raises Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def list(self, actor: Actor, query: AuditQuery) -> AuditPage:
        """One page, newest first. Raises InvalidRequest for a bad cursor."""
        asked = window(query, "audit_log")
        filters = Filters(
            resource_type=query.resource_type,
            resource_id=query.resource_id,
            actor=query.actor,
            action=query.action,
            since=query.since,
            until=query.until,
        )
        async with self._ports.database.acquire() as connection:
            rows = await queries.list_page(connection, actor.world_id, asked, filters)
        data, has_more, next_cursor = page(rows, asked, lambda row: _entry(row, actor.project_id))
        return AuditPage(data=data, has_more=has_more, next_cursor=next_cursor)

    async def room(self) -> int:
        """The size that an export counts for, in bytes, however many entries it has."""
        return WHOLE_EXPORT

    async def export(self, actor: Actor, query: AuditExportQuery) -> Reply[AsyncGenerator[bytes]]:
        """All entries of a time range as NDJSON, oldest first, in pieces of some entries.

        The first piece is read before the answer begins.
        """
        lines = self.lines(actor.world_id, actor.project_id, query.since, query.until)
        first = await anext(lines, b"")

        async def pieces() -> AsyncGenerator[bytes]:
            yield first
            async for piece in lines:
                yield piece

        return Reply(pieces(), headers=_EXPORT_HEADERS)

    async def of_end_user(self, actor: Actor, end_user_id: str) -> AsyncGenerator[list[AuditEntry]]:
        """All entries that belong to an end user who is not deleted, newest first, a page at a time."""
        before = _LAST_ID
        while True:
            async with self._ports.database.acquire() as connection:
                rows = await queries.list_of_end_user(
                    connection, actor.world_id, end_user_id, before, _EXPORTED_AT_ONCE
                )
            if not rows:
                return
            before = rows[-1].id
            yield [_entry(row, actor.project_id) for row in rows]

    async def lines(
        self, world_id: int, project_id: str, since: datetime | None, until: datetime | None
    ) -> AsyncGenerator[bytes]:
        """The lines of an export, many at a time. Without `until`, it ends at the present time."""
        # An entry at `since` itself is after every id of a microsecond earlier.
        after = ((since or EPOCH) - timedelta(microseconds=1), _LAST_ID)
        end = until or self._ports.clock.now()
        while True:
            async with self._ports.database.acquire() as connection:
                rows = await queries.list_after(connection, world_id, after, end, _EXPORTED_AT_ONCE)
            if rows:
                after = (rows[-1].created_at, rows[-1].id)
                yield b"".join(_encode(_entry(row, project_id)) + b"\n" for row in rows)
            if len(rows) < _EXPORTED_AT_ONCE:
                return


def _entry(row: AuditRow, project_id: str) -> AuditEntry:
    details = _ERASED if row.details is None else _details.decode(row.details)
    return AuditEntry(
        id=row.id,
        project_id=project_id,
        actor=AuditActor(kind=row.actor_kind, id=row.actor_id),
        action=row.action,
        resource_type=row.resource_type,
        resource_id=row.resource_id,
        before=details.before,
        after=details.after,
        request_id=row.request_id,
        address=details.address,
        created_at=timestamp(row.created_at),
        details_hash=row.details_hash.hex(),
        salt=None if row.salt is None else row.salt.hex(),
        chain=(
            None
            if row.number is None or row.hash is None
            else ChainLink(number=row.number, hash=row.hash.hex())
        ),
    )
