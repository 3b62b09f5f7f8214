"""A device's settings: two sections of the configuration, without levels, and two sections for devices only.

Only fields that were set are stored and shown; for the other fields, the device uses its own defaults. The
object `off_peak_hours` is present as a whole or not at all: if a client sets only some of its fields, the
other fields get defaults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from lapel.slices.configuration.kinds import Number, Whole, WordKind
from lapel.slices.configuration.merging import Document, flat, leaves, nested
from lapel.slices.configuration.section_schemas import lenient_schema, set_schema
from lapel.slices.configuration.sections import SECTIONS, Field, Section
from lapel.slices.configuration.views import warnings_of
from lapel.slices.configuration.wire import ConfigWarning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lapel.slices.configuration.kinds import Schema, Value

__all__ = ["ConfigWarning", "change_schema", "changed", "shown_schema", "valid", "without_effect"]

_AUDIO = Section(
    "audio",
    "How a device records.",
    (
        Field("codec", WordKind(("opus", "aac", "wav")), None, "The codec of the audio."),
        Field("sample_rate", Number((16_000, 24_000, 48_000)), None, "Samples per second."),
        Field("bitrate", Whole(8, 320), None, "The bit rate, in kbit/s."),
    ),
    obeyed_by="device",
)
_POWER = Section(
    "power",
    "How a device saves its battery.",
    (
        Field(
            "auto_sleep_minutes", Whole(0, 1440), None, "Minutes without use after which the device sleeps."
        ),
        Field(
            "low_battery_threshold_percent",
            Whole(0, 100),
            None,
            "Below this percentage, the battery counts as low.",
        ),
    ),
    obeyed_by="device",
)
_SETTINGS = {each.name: each for each in (SECTIONS["connection"], SECTIONS["upload"], _AUDIO, _POWER)}


def changed(stored: Document, change: Mapping[str, object], at: str) -> Document:
    """The settings after a JSON Merge Patch (RFC 7396). Unknown fields of the patch are ignored.

    Raises InvalidRequest for an invalid value; the error's `param` is `at` and the field's path.
    """
    after = valid(stored)
    for name, section in _SETTINGS.items():
        named = change.get(name, {})
        if named is None:
            after.pop(name, None)
        else:
            fields, below = cast("Document", named), f"{at}{name}."
            after[name] = nested(_patched(section, after.get(name, {}), fields, below))
    return valid(after)


def valid(stored: Document) -> Document:
    """The known and valid fields of stored settings, without empty sections."""
    found = {
        name: _whole(section, flat(section, stored.get(name, {}))) for name, section in _SETTINGS.items()
    }
    return {name: nested(fields) for name, fields in found.items() if fields}


def without_effect(settings: Document) -> list[ConfigWarning]:
    """A warning for each setting without effect whose value is not the default of the configuration.

    The `field` of a warning begins with the section.
    """
    return [
        msgspec.structs.replace(each, field=f"{name}.{each.field}")
        for name, section in _SETTINGS.items()
        for each in warnings_of(section, flat(section, settings.get(name, {})))
    ]


def shown_schema(section: str) -> Schema:
    """The JSON Schema of a section in an answer."""
    return set_schema(_SETTINGS[section])


def change_schema(section: str) -> Schema:
    """The JSON Schema of a section in a write."""
    return lenient_schema(_SETTINGS[section])


def _patched(section: Section, stored: Document, change: Document, at: str) -> dict[str, Value]:
    after = flat(section, stored)
    for path, value in leaves(section, change, at=at, lenient=True):
        if value is None:
            for each in [name for name in after if name == path or name.startswith(f"{path}.")]:
                del after[each]
        else:
            after[path] = section.by_path[path].kind.check(value, f"{at}{path}")
    return after


def _whole(section: Section, found: dict[str, Value]) -> dict[str, Value]:
    """If an optional object has at least one field, add its missing fields with their defaults."""
    begun = {path.partition(".")[0] for path in found} & section.optional
    defaults: dict[str, Any] = {
        field.path: field.default for field in section.fields if field.path.partition(".")[0] in begun
    }
    return defaults | found
