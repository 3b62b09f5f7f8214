"""The contract's structs of the configuration; the bodies are made from the table of sections."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec

from lapel.slices.configuration.section_schemas import change_schemas, resolved_schema
from lapel.slices.configuration.sections import SECTIONS, Level, Source

SectionValue: TypeAlias = Annotated[
    msgspec.Raw,
    msgspec.Meta(extra_json_schema={"anyOf": [resolved_schema(section) for section in SECTIONS.values()]}),
]


class ConfigDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A section: its built-in defaults, the levels that may override them, and how the levels are merged."""

    section: str
    description: str
    defaults: SectionValue
    levels: list[Level]
    merge_strategy: str


class ConfigDefinitions(msgspec.Struct, frozen=True, kw_only=True):
    """Every section."""

    data: list[ConfigDefinition]


class ConfigWarning(msgspec.Struct, frozen=True, kw_only=True):
    """Why a field's value does not do what it says. `field`: dotted path."""

    field: str
    message: str


class ConfigValue(msgspec.Struct, frozen=True, kw_only=True):
    """The resolved value of a section.

    `source` is the nearest level that overrides a field of the section, or `default`. `sources` has the level
    from which each field's value comes, by the dotted path of the field. `warnings` is left out if there are
    none: fields without effect that are not at their defaults, values that a stricter level overrides, and
    time zones that the IANA database does not have.
    """

    value: SectionValue
    source: Source
    sources: dict[str, Source]
    warnings: list[ConfigWarning] | msgspec.UnsetType = msgspec.UNSET
    definition: ConfigDefinition


class ConfigValues(msgspec.Struct, frozen=True, kw_only=True):
    """The resolved values of all sections, by name."""

    data: dict[str, ConfigValue]


class ConfigUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """A changed override. `id`: the organization, project, end user or device whose override it is.

    `before` and `after` are the override; null: there is none. `value` and `source` are what applies to the
    subject after the change.
    """

    id: str
    project_id: str
    level: Level
    section: str
    before: msgspec.Raw
    after: msgspec.Raw
    value: msgspec.Raw
    source: Source
    config_revision: int


class ConfigUpdateEvent(ConfigUpdate, frozen=True, kw_only=True):
    """`data` of `config.updated`."""

    config: ConfigUpdate


# A write: the fields of one section, which the path names.
ConfigChange: type[msgspec.Struct] = msgspec.defstruct(
    "ConfigChange",
    [
        (name, Annotated[Any, msgspec.Meta(extra_json_schema=schema)], msgspec.UNSET)
        for section in SECTIONS.values()
        for name, schema in change_schemas(section).items()
    ],
    namespace={
        "__doc__": "Fields of one section; unknown fields are refused. Null clears a field of the override.",
        "json_rules": {"examples": [{"allow_roaming": True, "daily_data_limit_mb": 200}]},
    },
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
)


def fields_of(change: msgspec.Struct) -> dict[str, object]:
    """The fields that a write names."""
    every = msgspec.structs.asdict(change)
    return {name: value for name, value in every.items() if value is not msgspec.UNSET}
