"""A device's settings in both forms: in the body of a device, and in a body of their own.

The configuration slice defines the valid values of the settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.errors import InvalidRequest
from lapel.slices.configuration.device_settings import ConfigWarning, changed, valid, without_effect
from lapel.slices.devices.wire import Settings, SettingsBody, SettingsChange

if TYPE_CHECKING:
    from lapel.foundation.http.input.fields import JsonObject

NOTHING = "{}"
_SECTIONS = SettingsChange.__struct_fields__


@dataclass(frozen=True, slots=True)
class SectionChange:
    """The sections that a write names; None: clear all sections. `at` is the sections' path in the body."""

    sections: JsonObject | None
    at: str


def change_of(change: SettingsChange | None, at: str = "settings.") -> SectionChange:
    """The change that a request asks for with `settings` in its body."""
    if change is None:
        return SectionChange(None, at)
    named = {name: value for name in _SECTIONS if (value := getattr(change, name)) is not msgspec.UNSET}
    return SectionChange(named, at)


def body_change(body: SettingsBody) -> SectionChange:
    """The change that a body in the older form asks for. Raises InvalidRequest when it mixes both forms."""
    if body.settings is msgspec.UNSET:
        return change_of(body, "")
    if any(getattr(body, name) is not msgspec.UNSET for name in _SECTIONS):
        raise InvalidRequest(
            "Send the sections either inside `settings` or beside it, not both.", param="settings"
        )
    return change_of(body.settings)


def merged(stored: str, change: SectionChange) -> str:
    """The JSON text to store after a change. Raises InvalidRequest, which names the invalid field."""
    if change.sections is None:
        return NOTHING
    return msgspec.json.encode(changed(msgspec.json.decode(stored), change.sections, change.at)).decode()


def shown(stored: str) -> msgspec.Raw:
    """The fields that are set, grouped by section, as JSON."""
    return msgspec.Raw(msgspec.json.encode(valid(msgspec.json.decode(stored))))


def in_sections(stored: str) -> tuple[Settings, list[ConfigWarning] | msgspec.UnsetType]:
    """All four sections, and warnings about settings without effect; unset if there are none.

    A section in which nothing is set is empty.
    """
    known = valid(msgspec.json.decode(stored))
    sections = {name: msgspec.Raw(msgspec.json.encode(known.get(name, {}))) for name in _SECTIONS}
    return Settings(**sections), without_effect(known) or msgspec.UNSET
