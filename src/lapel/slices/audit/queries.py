"""All SQL that reads the audit log; foundation/database/audit.py writes it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_rows

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow

_COLUMNS = """id, actor_kind, actor_id, action, resource_type, resource_id, before, after, request_id,
    created_at"""


class AuditRow(msgspec.Struct, frozen=True):
    """One entry of the audit log; `before` and `after` are JSON texts."""

    id: str
    actor_kind: str
    actor_id: str | None
    action: str
    resource_type: str
    resource_id: str | None
    before: str | None
    after: str | None
    request_id: str | None
    created_at: datetime


# Three statements instead of one with `OR`, so that the prepared plan of each uses its own index.
LIST = f"""
SELECT {_COLUMNS} FROM audit_log
WHERE world_id = $1 AND (created_at, id) < ($2, $3)
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

LIST_OF_TYPE = f"""
SELECT {_COLUMNS} FROM audit_log
WHERE world_id = $1 AND resource_type = $6 AND (created_at, id) < ($2, $3)
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

LIST_OF_RESOURCE = f"""
SELECT {_COLUMNS} FROM audit_log
WHERE world_id = $1 AND resource_id = $6 AND (created_at, id) < ($2, $3)
  AND ($7::text IS NULL OR resource_type = $7)
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""


async def list_page(
    connection: Connection,
    world_id: int,
    asked: PageWindow,
    resource_type: str | None,
    resource_id: str | None,
) -> list[AuditRow]:
    """Rows of one page, plus one row that tells whether more follow."""
    window = (world_id, asked.before_time, asked.before_id, asked.fetch, asked.offset)
    if resource_id is not None:
        return await fetch_rows(connection, AuditRow, LIST_OF_RESOURCE, *window, resource_id, resource_type)
    if resource_type is not None:
        return await fetch_rows(connection, AuditRow, LIST_OF_TYPE, *window, resource_type)
    return await fetch_rows(connection, AuditRow, LIST, *window)
