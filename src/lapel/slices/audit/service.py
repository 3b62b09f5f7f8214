"""Reading the audit log. The slices write entries with their changes (foundation/database/audit.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.clock import timestamp
from lapel.foundation.http.input.fields import raw
from lapel.foundation.http.input.pagination import page, window
from lapel.slices.audit import queries
from lapel.slices.audit.wire import AuditActor, AuditEntry, AuditPage

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.ports import Ports
    from lapel.slices.audit.queries import AuditRow
    from lapel.slices.audit.wire import AuditQuery


class AuditLog:
    """Reads the changes of a world and their actors."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def list(self, actor: Actor, query: AuditQuery) -> AuditPage:
        """One page, newest first.

        Raises InvalidRequest for a bad cursor, and Unavailable while the database is unavailable.
        """
        asked = window(query, "audit_log")
        async with self._ports.database.acquire() as connection:
            rows = await queries.list_page(
                connection, actor.world_id, asked, query.resource_type, query.resource_id
            )
        data, has_more, next_cursor = page(rows, asked, lambda row: _entry(row, actor.project_id))
        return AuditPage(data=data, has_more=has_more, next_cursor=next_cursor)


def _entry(row: AuditRow, project_id: str) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        project_id=project_id,
        actor=AuditActor(kind=row.actor_kind, id=row.actor_id),
        action=row.action,
        resource_type=row.resource_type,
        resource_id=row.resource_id,
        before=raw(row.before),
        after=raw(row.after),
        request_id=row.request_id,
        created_at=timestamp(row.created_at),
    )
