"""The templates of projects: create, read, change and delete them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec

from lapel.foundation.core.clock import timestamp
from lapel.foundation.core.errors import Conflict, InvalidRequest, NotFound
from lapel.foundation.database import audit
from lapel.foundation.http.input.pagination import page, window
from lapel.slices.projects.service import lock_world
from lapel.slices.summaries.rows import TemplateRow
from lapel.slices.summaries.templates import template_queries
from lapel.slices.summaries.templates.builtin import BUILT_IN, MADE_AT, Template, template_id_of
from lapel.slices.summaries.templates.schema_check import check_schema
from lapel.slices.summaries.wire import SummaryTemplate, SummaryTemplatePage

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.fields import JsonObject
    from lapel.foundation.http.input.pagination import PageQuery, PageWindow
    from lapel.foundation.ports import Ports
    from lapel.slices.summaries.wire import CreateSummaryTemplate, UpdateSummaryTemplate

MAX_TEMPLATES = 1_000


class SummaryTemplates:
    """The operations on templates. Methods without a `connection` parameter raise Unavailable when the
    database is away."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def create(
        self, connection: Connection, actor: Actor, body: CreateSummaryTemplate
    ) -> SummaryTemplate:
        """Create a template.

        Raises InvalidRequest for a schema that is not allowed, and Conflict when the world has
        `MAX_TEMPLATES` templates.
        """
        schema = check_schema(body.schema)
        now, world_id = self._ports.clock.now(), actor.world_id
        # Only one transaction at a time adds a template to a world, so the count holds.
        await lock_world(connection, actor.project_id, actor.mode)
        if await template_queries.count(connection, world_id) >= MAX_TEMPLATES:
            raise Conflict(
                f"This project has {MAX_TEMPLATES} templates, which is the limit. Delete some first."
            )
        template_id = self._ports.ids.new("tmpl")
        await template_queries.insert(connection, world_id, template_id, body.name, body.description, now)
        content = (body.instructions, schema)
        await template_queries.insert_version(connection, world_id, template_id, 1, content, now)
        await self._note(connection, actor, "created", template_id, now)
        return await self._read_in(connection, actor, template_id)

    async def replayed(self, actor: Actor, stored: SummaryTemplate) -> SummaryTemplate:
        """The answer to a repeated request: the template of the first request, as it is now. Raises NotFound
        when it is deleted."""
        return await self.read(actor, stored.id)

    async def read(self, actor: Actor, template_id: str) -> SummaryTemplate:
        """One template. Raises NotFound when there is no such template."""
        async with self._ports.database.acquire() as connection:
            return await self._read_in(connection, actor, template_id)

    async def size_of_list(self, actor: Actor, query: PageQuery) -> int:
        """Approximate size of the page's JSON, in bytes. Raises InvalidRequest for a bad cursor."""
        async with self._ports.database.acquire() as connection:
            return await template_queries.list_size(
                connection, actor.world_id, window(query, "summary_templates")
            )

    async def list(self, actor: Actor, query: PageQuery) -> SummaryTemplatePage:
        """One page, newest first; the built-in templates come last. Raises InvalidRequest for a bad
        cursor."""
        asked = window(query, "summary_templates")
        async with self._ports.database.acquire() as connection:
            rows = await template_queries.list_page(connection, actor.world_id, asked)
            if len(rows) < asked.fetch:
                skipped = 0
                if asked.offset and not rows:
                    own = await template_queries.count(connection, actor.world_id) if not query.cursor else 0
                    skipped = max(asked.offset - own, 0)
                rows += _built_in_rows(asked)[skipped : skipped + asked.fetch - len(rows)]
        data, has_more, next_cursor = page(rows, asked, lambda row: _shown(row, actor.project_id))
        return SummaryTemplatePage(data=data, has_more=has_more, next_cursor=next_cursor)

    async def update(self, actor: Actor, template_id: str, body: UpdateSummaryTemplate) -> SummaryTemplate:
        """Change a template; each change makes a new version.

        Raises NotFound when there is no such template, Conflict for a built-in template, and InvalidRequest
        for a schema that is not allowed.
        """
        template_id = _own(template_id)
        schema = msgspec.UNSET if body.schema is msgspec.UNSET else check_schema(body.schema)
        given = {
            "name": body.name,
            "description": body.description,
            "instructions": body.instructions,
            "output_schema": schema,
        }
        given = {name: value for name, value in given.items() if value is not msgspec.UNSET}
        now, world_id = self._ports.clock.now(), actor.world_id
        async with self._ports.database.transaction() as connection:
            before = await template_queries.lock(connection, world_id, template_id)
            if before is None:
                raise _unknown()
            wanted = msgspec.structs.replace(before, **given)
            if wanted != before:
                version = before.version + 1
                content = (wanted.instructions, wanted.output_schema)
                await template_queries.insert_version(
                    connection, world_id, template_id, version, content, now
                )
                named = (wanted.name, wanted.description)
                await template_queries.update(connection, world_id, template_id, named, version, now)
                await self._note(connection, actor, "updated", template_id, now)
            return await self._read_in(connection, actor, template_id)

    async def delete(self, actor: Actor, template_id: str) -> None:
        """Delete a template. Summaries that are being made with it fail; finished ones stay.

        Raises NotFound when there is no such template, and Conflict for a built-in template.
        """
        template_id, now = _own(template_id), self._ports.clock.now()
        async with self._ports.database.transaction() as connection:
            if not await template_queries.delete(connection, actor.world_id, template_id):
                raise _unknown()
            await self._note(connection, actor, "deleted", template_id, now)

    async def _read_in(self, connection: Connection, actor: Actor, template_id: str) -> SummaryTemplate:
        template_id = template_id_of(template_id)
        if template_id in BUILT_IN:
            return _shown(_built_in_row(BUILT_IN[template_id]), actor.project_id)
        row = await template_queries.read(connection, actor.world_id, template_id)
        if row is None:
            raise _unknown()
        return _shown(row, actor.project_id)

    async def _note(
        self, connection: Connection, actor: Actor, what: str, template_id: str, now: datetime
    ) -> None:
        action = f"summary_template.{what}"
        await audit.note(connection, self._ports.ids, now, actor, action, template_id, None)


async def current_version(connection: Connection, world_id: int, word: str) -> tuple[str, int] | None:
    """Id and newest version of a template, for a new summary; None when there is no such template. A
    project's template is not deleted before the transaction ends."""
    template_id = template_id_of(word)
    if template_id in BUILT_IN:
        return template_id, BUILT_IN[template_id].version
    version = await template_queries.keep(connection, world_id, template_id)
    return None if version is None else (template_id, version)


async def template_of(
    connection: Connection, world_id: int, template_id: str, version: int | None
) -> Template | None:
    """One version of a template; None when the template is unknown or deleted."""
    if template_id in BUILT_IN:
        return BUILT_IN[template_id]
    if version is None:
        return None
    row = await template_queries.read_version(connection, world_id, template_id, version)
    if row is None:
        return None
    return Template(
        id=template_id,
        name=template_id,
        description=None,
        version=version,
        instructions=row.instructions,
        schema=cast("JsonObject", msgspec.json.decode(row.output_schema)),
    )


async def is_there(connection: Connection, world_id: int, template_id: str) -> bool:
    """Whether a template exists. A project's template is not deleted before the transaction ends."""
    if template_id in BUILT_IN:
        return True
    return await template_queries.keep(connection, world_id, template_id) is not None


def _built_in_rows(asked: PageWindow) -> list[TemplateRow]:
    """The built-in templates after a place in the list."""
    rows = [_built_in_row(template) for template in BUILT_IN.values()]
    place = (asked.before_time, asked.before_id)
    rows = [row for row in rows if (row.created_at, row.id) < place]
    return sorted(rows, key=lambda row: row.id, reverse=True)


def _built_in_row(template: Template) -> TemplateRow:
    return TemplateRow(
        id=str(template.id),
        name=template.name,
        description=template.description,
        version=template.version,
        instructions=template.instructions,
        output_schema=msgspec.json.encode(template.schema),
        created_at=MADE_AT,
        updated_at=MADE_AT,
    )


def _shown(row: TemplateRow, project_id: str) -> SummaryTemplate:
    return SummaryTemplate(
        id=row.id,
        project_id=project_id,
        name=row.name,
        description=row.description,
        instructions=row.instructions,
        schema=msgspec.Raw(row.output_schema),
        version=row.version,
        built_in=row.id in BUILT_IN,
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
    )


def _own(word: str) -> str:
    template_id = template_id_of(word)
    if template_id in BUILT_IN:
        raise Conflict("A built-in template cannot be changed. Create a template of your own.")
    return template_id


def _unknown() -> NotFound:
    return NotFound("There is no template with this id.")


def unknown_template() -> InvalidRequest:
    """The error for a summary's template that does not exist."""
    return InvalidRequest("There is no template with this id or name.", param="template_id")
