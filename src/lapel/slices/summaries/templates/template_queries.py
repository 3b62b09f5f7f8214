"""All SQL of the templates of projects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_only_value, fetch_row, fetch_rows, fetch_value
from lapel.foundation.http.input.pagination import PAGE_BYTES
from lapel.slices.summaries.rows import TemplateRow, TemplateVersionRow

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow

_COLUMNS = (
    "t.id, t.name, t.description, t.version, v.instructions, v.output_schema, t.created_at, t.updated_at"
)
_JOINED = """summary_templates t JOIN summary_template_versions v
    ON v.world_id = t.world_id AND v.template_id = t.id AND v.version = t.version"""

INSERT = """
INSERT INTO summary_templates (world_id, id, name, description, version, created_at, updated_at)
VALUES ($1, $2, $3, $4, 1, $5, $5)
"""
INSERT_VERSION = """
INSERT INTO summary_template_versions (world_id, template_id, version, instructions, output_schema,
created_at) VALUES ($1, $2, $3, $4, $5, $6)
"""
UPDATE = """
UPDATE summary_templates SET name = $3, description = $4, version = $5, updated_at = $6
WHERE world_id = $1 AND id = $2
"""
DELETE = "DELETE FROM summary_templates WHERE world_id = $1 AND id = $2 RETURNING id"

READ = f"SELECT {_COLUMNS} FROM {_JOINED} WHERE t.world_id = $1 AND t.id = $2"
# Of this row alone: a statement that waits for a row then sees it anew, and other tables as before.
LOCK = "SELECT id FROM summary_templates WHERE world_id = $1 AND id = $2 FOR UPDATE"
# Keeps the template until the transaction ends.
LOCK_VERSION_NUMBER = "SELECT version FROM summary_templates WHERE world_id = $1 AND id = $2 FOR KEY SHARE"
READ_VERSION = """
SELECT instructions, output_schema FROM summary_template_versions
WHERE world_id = $1 AND template_id = $2 AND version = $3
"""
LIST = f"""
SELECT {_COLUMNS} FROM {_JOINED}
WHERE t.world_id = $1 AND (t.created_at, t.id) < ($2, $3)
ORDER BY t.created_at DESC, t.id DESC LIMIT $4 OFFSET $5
"""
COUNT = "SELECT count(*) FROM summary_templates WHERE world_id = $1"
LIST_SIZE = f"""
SELECT least(coalesce(sum(octet_length(instructions) + octet_length(output_schema)), 0), {PAGE_BYTES})::bigint
FROM ({LIST}) page
"""


async def insert(
    connection: Connection,
    world_id: int,
    template_id: str,
    name: str,
    description: str | None,
    now: datetime,
) -> None:
    """Insert a template, whose first version the caller inserts."""
    await connection.execute(INSERT, world_id, template_id, name, description, now)


async def insert_version(
    connection: Connection,
    world_id: int,
    template_id: str,
    version: int,
    content: tuple[str, bytes],
    now: datetime,
) -> None:
    """Insert a version. `content`: instructions, and the schema as JSON."""
    await connection.execute(INSERT_VERSION, world_id, template_id, version, *content, now)


async def update(
    connection: Connection,
    world_id: int,
    template_id: str,
    named: tuple[str, str | None],
    version: int,
    now: datetime,
) -> None:
    """Set name and description, and the number of the newest version."""
    await connection.execute(UPDATE, world_id, template_id, *named, version, now)


async def delete(connection: Connection, world_id: int, template_id: str) -> bool:
    """Delete a template with its versions. Returns whether it existed."""
    return await fetch_value(connection, str, DELETE, world_id, template_id) is not None


async def read(connection: Connection, world_id: int, template_id: str) -> TemplateRow | None:
    """A template with its newest version."""
    return await fetch_row(connection, TemplateRow, READ, world_id, template_id)


async def lock(connection: Connection, world_id: int, template_id: str) -> TemplateRow | None:
    """A template with its newest version, which no other transaction changes until this one ends."""
    await fetch_value(connection, str, LOCK, world_id, template_id)
    return await read(connection, world_id, template_id)


async def keep(connection: Connection, world_id: int, template_id: str) -> int | None:
    """The newest version of a template, which is not deleted before the transaction ends; None if there is no
    such template."""
    return await fetch_value(connection, int, LOCK_VERSION_NUMBER, world_id, template_id)


async def read_version(
    connection: Connection, world_id: int, template_id: str, version: int
) -> TemplateVersionRow | None:
    """One version of a template; None when the template is deleted."""
    return await fetch_row(connection, TemplateVersionRow, READ_VERSION, world_id, template_id, version)


async def list_page(connection: Connection, world_id: int, asked: PageWindow) -> list[TemplateRow]:
    """A page of the project's own templates, newest first."""
    place = (asked.before_time, asked.before_id, asked.fetch, asked.offset)
    return await fetch_rows(connection, TemplateRow, LIST, world_id, *place)


async def list_size(connection: Connection, world_id: int, asked: PageWindow) -> int:
    """Bytes of the texts in the page that `list_page` returns."""
    place = (asked.before_time, asked.before_id, asked.fetch, asked.offset)
    return await fetch_only_value(connection, int, LIST_SIZE, world_id, *place)


async def count(connection: Connection, world_id: int) -> int:
    """The number of a project's own templates."""
    return await fetch_only_value(connection, int, COUNT, world_id)
