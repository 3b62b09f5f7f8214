"""The rules of the configuration: overrides are set on levels, resolved, audited and given revisions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from lapel.foundation.core.errors import NotFound
from lapel.foundation.database import audit
from lapel.foundation.http.authorization import lacking_scopes
from lapel.slices.configuration import queries
from lapel.slices.configuration.events import publish_update, update_of
from lapel.slices.configuration.kinds import Value
from lapel.slices.configuration.merging import Document, Flat, nested, patched, resolve
from lapel.slices.configuration.queries import RETENTION_OVERRIDES, WORLDS_WITH_RETENTION
from lapel.slices.configuration.sections import SECTIONS, Level, Section
from lapel.slices.configuration.views import (
    DEFINITIONS,
    overrides,
    read,
    section_at,
    section_named,
    shown,
    written,
)
from lapel.slices.configuration.wire import (
    ConfigDefinition,
    ConfigDefinitions,
    ConfigValue,
    ConfigValues,
    fields_of,
)

if TYPE_CHECKING:
    from datetime import datetime

    import msgspec

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.configuration.queries import OverrideRow

# A function from the override before a write to the override after the write.
Change: TypeAlias = Callable[[Flat], dict[str, Value]]

# SQL of a device's configuration revision. `d` is a row of devices, and `w` a row of worlds. The revision
# rises with every change of the configuration that applies to the device.
REVISION = """greatest(w.config_revision, d.config_revision, (
    SELECT e.config_revision FROM end_users e WHERE e.world_id = d.world_id AND e.id = d.end_user_id
))"""
_UNKNOWN = {
    "project": "There is no project with this id.",
    "end_user": "There is no end user with this id.",
    "device": "There is no device with this id.",
}


__all__ = [
    "RETENTION_OVERRIDES",
    "REVISION",
    "WORLDS_WITH_RETENTION",
    "Configuration",
    "Document",
    "Level",
    "change_of",
]


class Configuration:
    """Operations on the configuration of a world.

    Methods that open a connection raise Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def definitions(self) -> ConfigDefinitions:
        """Every section."""
        return ConfigDefinitions(data=list(DEFINITIONS.values()))

    def definition(self, section: str) -> ConfigDefinition:
        """One section. Raises NotFound when no section has this name."""
        return DEFINITIONS[section_named(section).name]

    async def resolved(
        self, connection: Connection, world_id: int, end_user_id: str | None, device_id: str | None
    ) -> dict[str, Document]:
        """For other slices: the value of every section, by name, for an end user and a device."""
        rows = await queries.resolve(connection, world_id, end_user_id, device_id)
        return {
            name: resolve(section, overrides(section, rows).values()) for name, section in SECTIONS.items()
        }

    async def resolved_section(
        self,
        connection: Connection,
        world_id: int,
        end_user_id: str | None,
        device_id: str | None,
        section: str,
    ) -> Document:
        """For other slices: the value of one section, as `resolved` gives it. Reads this section alone.

        Raises NotFound when no section has this name.
        """
        wanted = section_named(section)
        rows = await queries.resolve_section(connection, world_id, end_user_id, device_id, section)
        return resolve(wanted, overrides(wanted, rows).values())

    async def strictest_section(
        self, connection: Connection, world_id: int, end_user_id: str, device_id: str | None, section: str
    ) -> Document:
        """For other slices: as `resolved_section`, merged with the overrides of all devices of the end user.

        It is for fields whose strictest value counts, and has no meaning for others.
        """
        wanted = section_named(section)
        rows = await queries.resolve_section_of_devices(connection, world_id, end_user_id, device_id, section)
        broader = [each for each in rows if each.level != "device"]
        of_devices = [read(wanted, each.value) for each in rows if each.level == "device"]
        return resolve(wanted, [*overrides(wanted, broader).values(), *of_devices])

    async def processing(
        self, connection: Connection, world_id: int, end_user_id: str | None, device_id: str | None
    ) -> Document:
        """For other slices: what is done with the recordings of an end user, or of one device of theirs."""
        return (await self.resolved(connection, world_id, end_user_id, device_id))["processing"]

    async def read_all(self, actor: Actor, level: Level, subject_id: str) -> ConfigValues:
        """Every section on a level. Raises NotFound when the caller reaches no such subject."""
        async with self._ports.database.acquire() as connection:
            rows = await self._rows(connection, actor, level, subject_id)
        return ConfigValues(data={name: shown(section, rows) for name, section in SECTIONS.items()})

    async def read(self, actor: Actor, level: Level, subject_id: str, section: str) -> ConfigValue:
        """One section on a level. Raises NotFound when the caller reaches no such section or subject."""
        wanted = section_named(section)
        async with self._ports.database.acquire() as connection:
            return shown(wanted, await self._rows(connection, actor, level, subject_id))

    async def patch(
        self, actor: Actor, level: Level, subject_id: str, section: str, body: msgspec.Struct
    ) -> ConfigValue:
        """Change the override of a section on a level. Null clears a field.

        Raises NotFound when there is no such subject or section. Raises InvalidRequest for a field or a value
        that the section does not take, and for a section that this level cannot set.
        """
        found, change = section_at(section, level), fields_of(body)
        return await self._write(actor, level, subject_id, found, lambda now: patched(found, now, change))

    async def put(self, actor: Actor, project_id: str, section: str, body: msgspec.Struct) -> ConfigValue:
        """Replace the project's override. Raises as `patch`, and NotFound for the id of another project."""
        if project_id != actor.project_id:
            raise NotFound(_UNKNOWN["project"])
        found, change = section_at(section, "project"), fields_of(body)
        return await self._write(actor, "project", "", found, lambda _: patched(found, {}, change))

    async def clear(self, actor: Actor, level: Level, subject_id: str, section: str) -> None:
        """Delete a level's override, if there is one.

        Raises NotFound when there is no such subject or section, and InvalidRequest for a section that this
        level cannot set.
        """
        await self._write(actor, level, subject_id, section_at(section, level), lambda _: {})

    async def raise_devices(
        self, connection: Connection, world_id: int, device_ids: list[str], _now: datetime
    ) -> None:
        """Raise the revision of devices whose binding begins or ends, because other overrides apply now.

        The caller has locked the devices' rows.
        """
        if device_ids:
            await queries.raise_revision(connection, world_id, "device", device_ids)

    async def forget_devices(
        self, connection: Connection, world_id: int, device_ids: list[str], _now: datetime
    ) -> None:
        """Delete the overrides of devices, in the transaction that deletes the devices."""
        await queries.delete_overrides(connection, world_id, "device", device_ids)

    async def forget_end_user(
        self, connection: Connection, world_id: int, end_user_id: str, _now: datetime
    ) -> None:
        """Delete the overrides of an end user that is being deleted."""
        await queries.delete_overrides(connection, world_id, "end_user", [end_user_id])

    async def _write(
        self, actor: Actor, level: Level, subject_id: str, section: Section, change: Change
    ) -> ConfigValue:
        """Change an override, with its revision and audit entry. If nothing changes, nothing is written.

        Raises NotFound when there is no such subject, Forbidden when the caller lacks a scope that this
        change needs, and what `change` raises.
        """
        _check_scopes(actor, section, section.more_scopes)
        now, world_id = self._ports.clock.now(), actor.world_id
        async with self._ports.database.transaction() as connection:
            subject = await queries.lock_subject(connection, world_id, level, subject_id)
            if subject is None:
                raise NotFound(_UNKNOWN[level])
            at = (world_id, level, subject_id, section.name)
            before = read(section, await queries.read_override(connection, at))
            after = change(before)
            if section.is_laxer(before, after):
                _check_scopes(actor, section, section.laxer_scopes)
            if after == before:
                return shown(section, await self._rows(connection, actor, level, subject_id))
            revision = await queries.raise_revision(connection, world_id, level, [subject_id])
            if after:
                await queries.put_override(connection, at, written(after), revision, now)
            else:
                await queries.delete_override(connection, at)
            owner, ids = subject_id or actor.project_id, self._ports.ids
            await audit.record(
                connection,
                ids,
                now,
                worlds=[world_id],
                actor=actor,
                change=change_of(level, owner, section, before, after),
                about=subject.end_user_id,
            )
            rows = await self._rows(connection, actor, level, subject_id)
            update = update_of(
                level, owner, section, before, after, rows, project_id=actor.project_id, revision=revision
            )
            await publish_update(connection, ids, now, world_id, update, subject.end_user_id)
            return shown(section, rows)

    async def _rows(
        self, connection: Connection, actor: Actor, level: Level, subject_id: str
    ) -> list[OverrideRow]:
        if level == "project":
            return await queries.resolve(connection, actor.world_id, None, None)
        find = queries.resolve_device if level == "device" else queries.resolve_end_user
        rows = await find(connection, actor.world_id, subject_id, actor.scoped_to)
        if not rows:
            raise NotFound(_UNKNOWN[level])
        return rows


def _check_scopes(actor: Actor, section: Section, needed: Sequence[str]) -> None:
    missing = [scope for scope in needed if scope not in actor.scopes]
    if missing:
        raise lacking_scopes(missing, f", which this change of `{section.name}` needs beside `config:write`")


def change_of(level: Level, subject_id: str, section: Section, before: Flat, after: Flat) -> audit.Change:
    """A changed override as an audit entry, in which null means no override."""
    return audit.Change(
        action="config.updated" if after else "config.cleared",
        resource_type=level,
        resource_id=subject_id,
        before={section.name: nested(before) or None},
        after={section.name: nested(after) or None},
    )
