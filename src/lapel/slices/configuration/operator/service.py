"""The organization's level, which only the operator writes; it applies to all projects of an organization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict, NotFound
from lapel.foundation.database import audit
from lapel.slices.configuration.events import publish_update, update_of
from lapel.slices.configuration.merging import patched
from lapel.slices.configuration.operator import operator_queries
from lapel.slices.configuration.sections import SECTIONS
from lapel.slices.configuration.service import change_of
from lapel.slices.configuration.views import read, section_at, shown, written
from lapel.slices.configuration.wire import ConfigValue

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Mode
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.configuration.service import Change


class OperatorConfiguration:
    """The configuration of an organization. Without `organization_id`, it is the only organization.

    Every method raises NotFound for an unknown organization or section, Conflict when no organization is
    named and there are several, and Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports, *, mode: Mode, organization_id: str | None = None) -> None:
        self._ports = ports
        self._mode: Mode = mode
        self._organization_id = organization_id

    async def read(self) -> dict[str, ConfigValue]:
        """Every section, by name."""
        async with self._ports.database.acquire() as connection:
            organization_id = await self._organization(connection)
            rows = await operator_queries.list_overrides(connection, organization_id, self._mode)
        return {name: shown(section, rows) for name, section in SECTIONS.items()}

    async def patch(self, section: str, change: Mapping[str, object]) -> ConfigValue:
        """Change the override of a section. Null clears a field.

        Raises InvalidRequest for an unknown field or an invalid value.
        """
        found = section_at(section, "organization")
        return await self._write(section, lambda now: patched(found, now, change))

    async def clear(self, section: str) -> ConfigValue:
        """Delete the override of a section, if there is one."""
        return await self._write(section, lambda _: {})

    async def _write(self, name: str, change: Change) -> ConfigValue:
        section, now = section_at(name, "organization"), self._ports.clock.now()
        async with self._ports.database.transaction() as connection:
            organization_id = await self._organization(connection)
            at = (organization_id, self._mode, name)
            worlds = await operator_queries.lock_worlds(connection, organization_id, self._mode)
            before = read(section, await operator_queries.read_override(connection, at))
            after = change(before)
            if after == before:
                rows = await operator_queries.list_overrides(connection, organization_id, self._mode)
                return shown(section, rows)
            ids = [each.id for each in worlds]
            revision = await operator_queries.raise_revision(connection, organization_id, ids)
            if after:
                await operator_queries.put_override(connection, at, written(after), revision, now)
            else:
                await operator_queries.delete_override(connection, at)
            await audit.record(
                connection,
                self._ports.ids,
                now,
                worlds=ids,
                actor=None,
                change=change_of("organization", organization_id, section, before, after),
                about=None,
            )
            rows = await operator_queries.list_overrides(connection, organization_id, self._mode)
            for world in worlds:
                update = update_of(
                    "organization", organization_id, section, before, after, rows,
                    project_id=world.project_id, revision=revision,
                )  # fmt: skip
                await publish_update(connection, self._ports.ids, now, world.id, update, None)
            return shown(section, rows)

    async def _organization(self, connection: Connection) -> str:
        every = await operator_queries.list_organizations(connection)
        wanted = self._organization_id
        if wanted is None and len(every) > 1:
            listed = ", ".join(f"{row.id} ({row.name})" for row in every)
            raise Conflict(f"There are several organizations; name one with --organization: {listed}.")
        found = [row.id for row in every if wanted is None or row.id == wanted]
        if not found:
            if wanted is None:
                raise NotFound("There is no organization yet.")
            raise NotFound("There is no organization with this id.", param="organization_id")
        return found[0]
