"""The configuration (section 14): definitions, resolved values, and a device's own settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.strict.shapes import (
    Shape,
    all_of,
    array,
    boolean,
    integer,
    json_object,
    null_or,
    record,
    text,
    word,
)

LEVELS = ("organization", "project", "end_user", "device")
_SWITCHES: dict[str, Shape] = {"wifi": boolean, "cellular": boolean}
_MINUTE = text(pattern=r"([01][0-9]|2[0-3]):[0-5][0-9]")


def _idle_seconds(value: Any, at: str) -> Iterator[str]:
    """-1 always, 0 at once, 10 to 2540."""
    yield from integer(-1, 2540)(value, at)
    if value in range(1, 10):
        yield f"{at}: {value} is below 10"


_IDLE: dict[str, Shape] = {
    "wifi_idle_timeout_seconds": _idle_seconds,
    "cellular_idle_timeout_seconds": _idle_seconds,
}
_PREFERENCE = array(word("wifi", "ble", "cellular"), most=3, least=1)
_UPLOAD: dict[str, Shape] = {
    "streaming_enabled": boolean,
    "streaming_chunk_kb": integer(64, 1024),
    "streaming_flush_interval_seconds": integer(0, 255),
    "daily_data_limit_mb": integer(0, 10000),
    "allow_roaming": boolean,
    "pause_on_low_battery": boolean,
    "off_peak_hours": null_or(
        record(
            {
                "enabled": boolean,
                "start": _MINUTE,
                "end": _MINUTE,
                "timezone": text(1, 64, r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*"),
            }
        )
    ),
}
CONNECTION_SETTINGS = record(
    {},
    {
        "enabled_connections": record({}, _SWITCHES),
        "heartbeat_enabled_connections": record({}, _SWITCHES),
        "upload_network_preference": _PREFERENCE,
        "power_management": record({}, _IDLE),
    },
)
UPLOAD_SETTINGS = record({}, _UPLOAD)


def _automatic(*more: tuple[str, Shape]) -> Shape:
    return record({"enabled": boolean, **dict(more)})


VALUES: dict[str, Shape] = {
    "connection": record(
        {
            "enabled_connections": record(_SWITCHES),
            "heartbeat_enabled_connections": record(_SWITCHES),
            "upload_network_preference": _PREFERENCE,
            "power_management": record(_IDLE),
        }
    ),
    "upload": record(_UPLOAD),
    "processing": record(
        {
            "auto_transcription": record(
                {
                    "enabled": boolean,
                    "provider": null_or(word("whisper", "deepgram", "assemblyai", "elevenlabs")),
                },
                {"language": text(2, 10)},  # ours: left out until a level sets it
            ),
            "auto_summary": _automatic(
                ("provider", null_or(word("gemini", "openai", "claude"))), ("template", text(1, 64))
            ),
            "auto_embedding": _automatic(),
            "auto_enhancement": record({"enabled": boolean}, {"provider": word("cleanvoice")}),
        },
        # Ours: left out until a level sets it.
        {"languages": array(text(2, 10), least=1), "time_zone": text(1, 64), "second_reader": boolean},
    ),
    "ota": record({"auto_update": _automatic(), "source": word("legacy", "service")}),
    "upload_security": record(
        {"encrypted_upload_policy": word("legacy_allowed", "v2_preferred", "v2_required")}
    ),
    "retention": record(
        {"recordings_days": null_or(integer(1)), "audio_days": null_or(integer(1))},
    ),
}
# Ours: left out if there are none.
WARNINGS = array(record({"field": text(1, 128), "message": text(1, 512)}), least=1)
_DEFAULTS = {section: VALUES[section] for section in VALUES}


def definition(section: str) -> Shape:
    """The answer of `/config/schema/{section}`."""
    return record(
        {
            "section": word(section),
            "description": text(1, 2048),
            "defaults": _DEFAULTS.get(section, json_object),
            "levels": all_of(array(word(*LEVELS), least=1), _distinct),
            "merge_strategy": word("min" if section == "retention" else "merge_deep"),
        }
    )


def resolved(section: str, asked: str) -> Shape:
    """A section as resolved at a level: no source is below the level that was asked for."""
    levels = LEVELS[: LEVELS.index(asked) + 1]
    if section == "upload_security":
        levels = tuple(level for level in levels if level != "end_user")
    return record(
        {
            "value": VALUES.get(section, json_object),
            "source": word("default", *levels),
            "definition": definition(section),
        },
        {"warnings": WARNINGS, "sources": json_object},
    )


def all_resolved(asked: str) -> Shape:
    """Every section at a level."""
    return record({"data": record({section: resolved(section, asked) for section in VALUES})})


def definitions(value: Any, at: str) -> Iterator[str]:
    """`/config/schema`: the six sections, each once."""
    yield from record({"data": array(json_object, most=len(VALUES), least=len(VALUES))})(value, at)
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        named = [each.get("section") for each in value["data"] if isinstance(each, dict)]
        if sorted(map(str, named)) != sorted(VALUES):
            yield f"{at}.data: sections {named}"
        for index, each in enumerate(value["data"]):
            if isinstance(each, dict):
                yield from definition(str(each.get("section")))(each, f"{at}.data[{index}]")


def _distinct(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, list) and len(set(map(str, value))) != len(value):
        yield f"{at}: a level is repeated"
