"""Sections and overrides as structs of the contract."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.errors import InvalidRequest, NotFound
from lapel.slices.configuration.kinds import Value
from lapel.slices.configuration.merging import Flat, flat, limited, nested, resolve, sources
from lapel.slices.configuration.sections import LEVELS, SECTIONS, Level, Section, Source
from lapel.slices.configuration.wire import ConfigDefinition, ConfigValue, ConfigWarning

if TYPE_CHECKING:
    from lapel.slices.configuration.queries import OverrideRow

_NAMES: dict[Level, str] = {
    "organization": "an organization",
    "project": "a project",
    "end_user": "an end user",
    "device": "a device",
}


def json_of(value: object) -> msgspec.Raw:
    """A value as JSON."""
    return msgspec.Raw(msgspec.json.encode(value))


DEFINITIONS: dict[str, ConfigDefinition] = {
    name: ConfigDefinition(
        section=name,
        description=section.description,
        defaults=json_of(resolve(section, ())),
        levels=list(section.levels),
        merge_strategy=section.merge_strategy,
    )
    for name, section in SECTIONS.items()
}


def section_named(name: str) -> Section:
    """The section of this name. Raises NotFound when there is no such section."""
    section = SECTIONS.get(name)
    if section is None:
        raise NotFound(f"There is no section of this name. The sections are: {', '.join(SECTIONS)}.")
    return section


def section_at(name: str, level: Level) -> Section:
    """A section that may be overridden on a level.

    Raises NotFound when there is no section of this name, and InvalidRequest when this level cannot set it.
    """
    section = section_named(name)
    if level not in section.levels:
        raise InvalidRequest(
            f"`{name}` cannot be set for {_NAMES[level]}; its levels are: {', '.join(section.levels)}.",
            param="section",
        )
    return section


def overrides(section: Section, rows: Iterable[OverrideRow]) -> dict[Level, Flat]:
    """Select the overrides of one section from all rows. The broadest level is first."""
    stored: dict[Level, Flat] = {
        row.level: read(section, row.value)
        for row in rows
        if row.level is not None and row.section == section.name
    }
    return {level: stored[level] for level in LEVELS if level in section.levels and stored.get(level)}


def shown(section: Section, rows: Iterable[OverrideRow]) -> ConfigValue:
    """The value of a section under all its overrides, and the nearest level that has an override."""
    found = overrides(section, rows)
    source: Source = max(found, key=LEVELS.index) if found else "default"
    value = resolve(section, found.values())
    return ConfigValue(
        value=json_of(value),
        source=source,
        sources=sources(section, found, value),
        warnings=[*warnings_of(section, flat(section, value)), *_limits(section, found)] or msgspec.UNSET,
        definition=DEFINITIONS[section.name],
    )


def warnings_of(section: Section, values: Flat) -> list[ConfigWarning]:
    """A warning for each field without effect whose value is not its default, and for doubtful values."""
    found: list[ConfigWarning] = []
    for field in section.fields:
        name, value = f"`{section.name}.{field.path}`", values.get(field.path)
        if field.without_effect and value is not None and value != field.default:
            message = f"{name} is stored and shown. {field.without_effect}"
            found.append(ConfigWarning(field=field.path, message=message))
        if value is not None and (doubt := field.kind.doubt(value)) is not None:
            found.append(ConfigWarning(field=field.path, message=f"{name}: `{value}` {doubt}."))
    return found


def _limits(section: Section, found: dict[Level, Flat]) -> Iterable[ConfigWarning]:
    """A warning for each field whose nearest override is not in force."""
    for field, nearest, winner in limited(section, found):
        near, counts = found[nearest][field.path], found[winner][field.path]
        yield ConfigWarning(
            field=field.path,
            message=f"`{section.name}.{field.path}` is {_shown(counts)}, from the level `{winner}`: it is "
            f"stricter than {_shown(near)} of the level `{nearest}`. {field.kind.rule.capitalize()} counts.",
        )


def _shown(value: Value) -> str:
    return f"`{value}`" if isinstance(value, str) else str(value)


def read(section: Section, stored: str | None) -> dict[str, Value]:
    """Decode an override from the database."""
    return {} if stored is None else flat(section, msgspec.json.decode(stored))


def written(override: Flat) -> str:
    """Encode an override for the database."""
    return msgspec.json.encode(nested(override)).decode()
