"""The contract's structs of heartbeats."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from lapel.foundation.http.input.fields import Count, JsonObject, Timestamp
from lapel.slices.commands.service import Command
from lapel.slices.firmware.service import Manifest

MAX_EVENTS = 256

# The states that the contract lists; a device may report another word, which is stored as sent.
DeviceState: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        max_length=32,
        description="One of `idle recording syncing uploading charging lowBattery storageFull error`; any "
        "other word is stored too.",
        examples=["idle"],
    ),
]
Connection: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        max_length=16,
        description="One of `wifi 4g ble`; any other word is stored too.",
        examples=["wifi"],
    ),
]
_EVENT: dict[str, Any] = {
    "required": ["event_id"],
    "properties": {"event_id": {"type": "string", "pattern": "^[0-9A-Fa-f]{16}$"}},
}
# The other fields of an event are stored as sent, so the service reads only this field.
DiagnosticEvent: TypeAlias = Annotated[JsonObject, msgspec.Meta(extra_json_schema=_EVENT)]


class Diagnostics(msgspec.Struct, frozen=True, kw_only=True):
    """The device's own log. Each event has at most 4 KiB, and an `event_id` that the device chooses."""

    schema_version: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1, examples=[1])] | None = None
    events: Annotated[list[DiagnosticEvent], msgspec.Meta(max_length=MAX_EVENTS)] = []


class OtaResult(msgspec.Struct, frozen=True, kw_only=True):
    """The failure of an update. A success is not reported here: the new `firmware_version` shows it."""

    assignment_id: str
    status: Literal["failed"]
    error_message: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class HeartbeatBody(msgspec.Struct, frozen=True, kw_only=True):
    """The report of a device; fields that it leaves out keep the last value of the device's binding.

    `flags` is a sum: 1 charging, 2 low battery, 4 storage full, 8 Wi-Fi, 16 LTE, 32 syncing.
    """

    battery_percent: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    storage_used_mb: Count | None = None
    storage_total_mb: Count | None = None
    signal_strength_dbm: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1, examples=[-67])] | None = None
    firmware_version: Annotated[str, msgspec.Meta(max_length=32, examples=["1.4.2"])] | None = None
    device_name: Annotated[str, msgspec.Meta(max_length=64, examples=["Front desk"])] | None = None
    device_state: DeviceState | None = None
    pending_recordings: Count | None = None
    flags: Annotated[int, msgspec.Meta(ge=0, le=255, examples=[9])] | None = None
    connection_type: Annotated[list[Connection], msgspec.Meta(max_length=16)] | None = None
    client_context: Annotated[Any, msgspec.Meta(description="Any JSON, stored as sent.")] = None
    diagnostics: Diagnostics | None = None
    ota_result: OtaResult | None = None


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: what the device should do now.

    `accepted_event_ids` are the diagnostic events that the device may delete. `config_revision` grows when
    the device's configuration changes.
    """

    status: Literal["ok"]
    commands: list[Command]
    ota: Manifest | None
    config_revision: int
    accepted_event_ids: list[str]


class RecordingState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The values that are merged into the device's `recording_state`."""

    device_state: str | None = None
    pending_recordings: int | None = None
    flags: int | None = None
    connection_type: list[str] | None = None


class StoredDiagnostic(msgspec.Struct, frozen=True, kw_only=True):
    """A diagnostic event as it is stored, for the export of an end user; `body` is the event as sent."""

    device_id: str
    event_id: str
    schema_version: int | None
    received_at: Timestamp
    body: msgspec.Raw
