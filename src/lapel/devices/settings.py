"""A device's settings: four sections of the maker's own fields, changed by JSON Merge Patch (RFC 7396).

Only what was set is stored. What is not there is left to the device's defaults, so to reset is to remove.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from lapel.devices.wire import Settings, SettingsBody, SettingsChange
from lapel.foundation.errors import InvalidRequest
from lapel.foundation.wire import metadata_text, raw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lapel.foundation.wire import JsonObject

NOTHING = "{}"
MAX_DEPTH = 10
_SECTIONS = SettingsChange.__struct_fields__
# One level at a time: what a change does not reach keeps the very digits it was stored with.
_level = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def change_of(change: SettingsChange | None) -> JsonObject | None:
    """The sections that a change names; None clears all. Raises InvalidRequest for too deep nesting."""
    if change is None:
        return None
    named = {name: value for name in _SECTIONS if (value := getattr(change, name)) is not msgspec.UNSET}
    if _deeper_than(MAX_DEPTH, named):
        raise InvalidRequest(f"`settings` may be nested {MAX_DEPTH} levels deep.", param="settings")
    return named


def sections_of(body: SettingsBody) -> JsonObject | None:
    """The same of the older form's body. Raises InvalidRequest also where both forms are mixed."""
    if body.settings is msgspec.UNSET:
        return change_of(body)
    if any(getattr(body, name) is not msgspec.UNSET for name in _SECTIONS):
        raise InvalidRequest("Give the sections either in `settings` or beside it.", param="settings")
    return change_of(body.settings)


def merged(stored: str, change: JsonObject | None) -> str:
    """The JSON text to store after a change. Raises InvalidRequest when it has become too large."""
    return NOTHING if change is None else metadata_text(_patched(stored.encode(), change), param="settings")


def in_sections(stored: str) -> Settings:
    """All four, also those in which nothing is set."""
    known = _level(stored)
    return Settings(**{name: known.get(name, raw(NOTHING)) for name in _SECTIONS})


def _patched(stored: bytes | msgspec.Raw | None, change: Mapping[str, Any]) -> JsonObject:
    """RFC 7396, with what it takes over left undecoded."""
    is_object = stored is not None and bytes(stored)[:1] == b"{"
    result: dict[str, Any] = dict(_level(cast("bytes", stored))) if is_object else {}
    for name, value in change.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = _patched(result.get(name), cast("JsonObject", value))
        else:
            result[name] = value
    return result


def _deeper_than(levels: int, value: object) -> bool:
    """Whether more objects and lists than this lie within one another."""
    if isinstance(value, dict):
        within = list(cast("JsonObject", value).values())
    elif isinstance(value, list):
        within = cast("list[Any]", value)
    else:
        return False
    return levels == 0 or any(_deeper_than(levels - 1, each) for each in within)
