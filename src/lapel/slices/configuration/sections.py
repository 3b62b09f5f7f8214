"""Every section of the configuration, as data: its fields with type, bounds, default and merge rule.

This table drives the checks of writes, the merging of levels, the schema routes, the OpenAPI document and the
tables of docs/configuration.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

from lapel.slices.configuration.kinds import (
    Flag,
    Idle,
    Kind,
    Limit,
    Several,
    Strictest,
    Text,
    Value,
    Whole,
    WordKind,
    Words,
    Zone,
)

# From the broadest to the nearest. The built-in defaults are broader than all levels.
Level: TypeAlias = Literal["organization", "project", "end_user", "device"]
Source: TypeAlias = Literal["default"] | Level
Obeyer: TypeAlias = Literal["device", "server"]
LEVELS: tuple[Level, ...] = ("organization", "project", "end_user", "device")


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a section; `path` is dotted. Without a default, it is null until a level sets it."""

    path: str
    kind: Kind
    default: Value | None
    meaning: str
    # False: until a level sets the field, a resolved value leaves it out instead of showing null.
    shown_unset: bool = True
    # Why nothing obeys the field yet, as one sentence; None if the section's `obeyed_by` obeys it.
    without_effect: str | None = None

    @property
    def description(self) -> str:
        """The meaning; and, if nothing obeys the field yet, that it has no effect, and why."""
        return f"{self.meaning} {self.without_effect}" if self.without_effect else self.meaning


@dataclass(frozen=True)
class Section:
    """A named part of the configuration. A write changes the fields of one section."""

    name: str
    description: str
    fields: tuple[Field, ...]
    # Who acts on the fields. The server only stores and shows what the device obeys.
    obeyed_by: Obeyer
    levels: tuple[Level, ...] = LEVELS
    merge_strategy: str = "merge_deep"
    # Objects that are null until a level sets one of their fields.
    optional: frozenset[str] = frozenset()
    # What a key needs beside `config:write` to change the section, and to make one of its fields laxer.
    more_scopes: tuple[str, ...] = ()
    laxer_scopes: tuple[str, ...] = ()

    @cached_property
    def by_path(self) -> dict[str, Field]:
        """The section's fields by their paths."""
        return {field.path: field for field in self.fields}

    @cached_property
    def groups(self) -> frozenset[str]:
        """The paths of the section's objects."""
        return frozenset(field.path.rpartition(".")[0] for field in self.fields) - {""}

    def is_laxer(self, before: Mapping[str, Value], after: Mapping[str, Value]) -> bool:
        """Whether the change of a level's override may make a field laxer."""
        return any(
            field.kind.is_laxer(before.get(path), after.get(path)) for path, field in self.by_path.items()
        )


_NO_STREAMING = "No effect yet: the server takes only whole recordings."
_NO_ENHANCEMENT = "No effect yet: the server changes no audio."
_CONNECTIONS = ("wifi", "ble", "cellular")
_SPEECH = ("whisper", "deepgram", "assemblyai", "elevenlabs")
_LANGUAGE = ("gemini", "openai", "claude")
_IDLE = Idle(10, 2540)
_DAYS = Limit(1, 36_500)
_TIME = Text("([01][0-9]|2[0-3]):[0-5][0-9]", "a time of the day as HH:MM", 5)
_ZONE = Zone(
    "[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*",
    "the name of a time zone, such as Europe/Zurich, of at most 64 characters",
    64,
)
_LANGUAGE_TAG = Text("[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", "a language tag, such as `de` or `de-CH`", 10)
_NAME = Text("[A-Za-z0-9_-]+", "1 to 64 letters, digits, _ and -", 64)

SECTIONS: dict[str, Section] = {
    section.name: section
    for section in (
        Section(
            "connection",
            "Which networks a device uses, what it uses them for, and when they sleep.",
            (
                Field("enabled_connections.wifi", Flag(), True, "The device may use Wi-Fi."),
                Field("enabled_connections.cellular", Flag(), True, "The device may use the mobile network."),
                Field(
                    "heartbeat_enabled_connections.wifi",
                    Flag(),
                    True,
                    "The device may send heartbeats over Wi-Fi.",
                ),
                Field(
                    "heartbeat_enabled_connections.cellular",
                    Flag(),
                    True,
                    "The device may send heartbeats over the mobile network.",
                ),
                Field(
                    "upload_network_preference",
                    Words(_CONNECTIONS),
                    list(_CONNECTIONS),
                    "The networks for uploads of recordings, in order: the device uses the first network "
                    "that works. If a network is in the list twice, its first position counts.",
                ),
                Field(
                    "power_management.wifi_idle_timeout_seconds",
                    _IDLE,
                    180,
                    "Seconds without use after which Wi-Fi sleeps.",
                ),
                Field(
                    "power_management.cellular_idle_timeout_seconds",
                    _IDLE,
                    180,
                    "Seconds without use after which the mobile network sleeps.",
                ),
            ),
            obeyed_by="device",
        ),
        Section(
            "upload",
            "When and how recordings are uploaded.",
            (
                Field(
                    "streaming_enabled",
                    Flag(),
                    False,
                    "The device uploads while it records (streaming).",
                    without_effect=_NO_STREAMING,
                ),
                Field(
                    "streaming_chunk_kb",
                    Whole(64, 1024),
                    256,
                    "With streaming: the size of a part, in KiB.",
                    without_effect=_NO_STREAMING,
                ),
                Field(
                    "streaming_flush_interval_seconds",
                    Whole(0, 255),
                    60,
                    "With streaming: the seconds after which a part is sent even if it is smaller.",
                    without_effect=_NO_STREAMING,
                ),
                Field(
                    "daily_data_limit_mb",
                    Limit(0, 10_000, unlimited=0),
                    500,
                    "The most that the device may upload in a day, in MB; 0: no limit.",
                ),
                Field("allow_roaming", Flag(), False, "The device also uploads while roaming."),
                Field("pause_on_low_battery", Flag(), True, "Uploads wait while the battery is low."),
                Field("off_peak_hours.enabled", Flag(), False, "The device uploads only during these hours."),
                Field(
                    "off_peak_hours.start", _TIME, "00:00", "The time at which these hours begin, every day."
                ),
                Field(
                    "off_peak_hours.end",
                    _TIME,
                    "06:00",
                    "The time at which these hours end. If it is before `start`, they end on the next day.",
                ),
                Field(
                    "off_peak_hours.timezone",
                    _ZONE,
                    "UTC",
                    "The time zone of these hours: a name of the IANA database, such as Europe/Zurich. "
                    "Answers warn of another name.",
                ),
            ),
            obeyed_by="device",
            optional=frozenset({"off_peak_hours"}),
        ),
        Section(
            "processing",
            "What is done with a recording after its upload.",
            (
                Field("auto_transcription.enabled", Flag(), False, "The recording is transcribed."),
                Field(
                    "auto_transcription.provider",
                    WordKind(_SPEECH),
                    None,
                    "The provider that transcribes; null: `whisper`.",
                ),
                Field(
                    "auto_transcription.language",
                    _LANGUAGE_TAG,
                    None,
                    "The language that is spoken, such as `de`, unless a request names one. Until a level "
                    "sets this field, answers leave it out, and the language is detected.",
                    shown_unset=False,
                ),
                Field("auto_summary.enabled", Flag(), False, "The transcript is summarized."),
                Field(
                    "auto_summary.provider",
                    WordKind(_LANGUAGE),
                    None,
                    "The provider that summarizes; null: `gemini`.",
                ),
                Field(
                    "auto_summary.template",
                    _NAME,
                    "general_notes",
                    "Name or id of the template for the summary.",
                ),
                Field(
                    "auto_embedding.enabled",
                    Flag(),
                    True,
                    "The transcript can be searched by meaning, not only by its words.",
                ),
                Field(
                    "languages",
                    Several(_LANGUAGE_TAG, 16),
                    None,
                    "The languages that may be spoken, such as `de` and `es`: that of a recording is "
                    "detected among them. Until a level sets this field, answers leave it out, and the "
                    "language is detected among all.",
                    shown_unset=False,
                ),
                Field(
                    "time_zone",
                    _ZONE,
                    None,
                    "The time zone in which a question means *yesterday*, such as Europe/Zurich. "
                    "Until a level sets this field, answers leave it out, and it is UTC.",
                    shown_unset=False,
                ),
                Field(
                    "second_reader",
                    Flag(),
                    None,
                    "The language model that answers a question or writes a summary also reads each sentence "
                    "or entry again with what was said, and what was not said is left out. Until a "
                    "level sets this field, answers leave it out, and a model at a service does so, and the "
                    "local model does not.",
                    shown_unset=False,
                ),
                Field(
                    "auto_enhancement.enabled",
                    Flag(),
                    False,
                    "Noise is removed from the audio.",
                    without_effect=_NO_ENHANCEMENT,
                ),
                Field(
                    "auto_enhancement.provider",
                    WordKind(("cleanvoice",)),
                    None,
                    "The provider that removes noise. Answers leave this field out until a level sets it.",
                    shown_unset=False,
                    without_effect=_NO_ENHANCEMENT,
                ),
            ),
            obeyed_by="server",
        ),
        Section(
            "ota",
            "How a device gets its firmware.",
            (
                Field(
                    "auto_update.enabled",
                    Flag(),
                    False,
                    "The device installs an offered release without asking.",
                ),
                Field(
                    "source",
                    WordKind(("legacy", "service")),
                    "service",
                    "Where the device gets releases. `service`: from this server. `legacy`: from the system "
                    "that was used before this server.",
                ),
            ),
            obeyed_by="device",
        ),
        Section(
            "upload_security",
            "Whether a device encrypts its uploads.",
            (
                Field(
                    "encrypted_upload_policy",
                    Strictest(("legacy_allowed", "v2_preferred", "v2_required")),
                    "legacy_allowed",
                    "Encryption is not needed, preferred, or required. The strictest value is `v2_required`: "
                    "plain uploads are refused.",
                ),
            ),
            obeyed_by="server",
            levels=("organization", "project", "device"),
            laxer_scopes=("keys:write",),
        ),
        Section(
            "retention",
            "How long recordings are kept. A change is in force 22 hours later.",
            (
                Field(
                    "recordings_days",
                    _DAYS,
                    None,
                    "Days from its upload after which a recording is deleted with all its data; null: never.",
                ),
                Field(
                    "audio_days",
                    _DAYS,
                    None,
                    "Days from its upload after which the audio is deleted, while the recording and its "
                    "transcriptions stay; null: together with the recording.",
                ),
            ),
            obeyed_by="server",
            merge_strategy="min",
            more_scopes=("recordings:write", "audit:read"),
        ),
    )
}
