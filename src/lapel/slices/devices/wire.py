"""The contract's structs of devices."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import msgspec

from lapel.foundation.http.input.fields import ClientObject, JsonObject, Timestamp
from lapel.foundation.http.input.pagination import PageQuery
from lapel.slices.configuration.device_settings import ConfigWarning, change_schema, shown_schema

Status: TypeAlias = Literal["unbound", "bound"]
# The connection of a heartbeat or an upload.
ConnectionKind: TypeAlias = Literal["ble", "wifi", "cellular"]
Serial: TypeAlias = Annotated[
    str,
    msgspec.Meta(min_length=4, max_length=64, pattern=r"^[A-Za-z0-9_-]{4,64}\Z", examples=["PIN4G0042"]),
]
Model: TypeAlias = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9_]{1,64}\Z", examples=["bota_pin_4g"]),
]
PublicKey: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{128}\Z")]
Name: TypeAlias = Annotated[str, msgspec.Meta(max_length=128, examples=["Front desk"])]
Firmware: TypeAlias = Annotated[str, msgspec.Meta(max_length=64, examples=["1.4.2"])]
Object: TypeAlias = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]
ObjectOrNull: TypeAlias = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": ["object", "null"]})]

# The settings of a device, and the body that changes them.
_SECTIONS = ("connection", "upload", "audio", "power")
_SHOWN = {name: shown_schema(name) for name in _SECTIONS}
SettingsShown: TypeAlias = Annotated[
    msgspec.Raw,
    msgspec.Meta(extra_json_schema={"type": "object", "properties": _SHOWN, "additionalProperties": False}),
]


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One device; `device_type` is the older name of `model`."""

    id: str
    serial_number: str
    model: str
    device_type: str
    name: str | None
    firmware_version: str | None
    status: Status
    end_user_id: str | None
    binding_generation: int
    bound_at: Timestamp | None
    battery_percent: int | None
    storage_used_mb: int | None
    storage_total_mb: int | None
    signal_strength_dbm: int | None
    last_heartbeat_at: Timestamp | None
    last_seen_at: Timestamp | None
    last_synced_at: Timestamp | None
    recording_state: ObjectOrNull
    metadata: Object
    settings: SettingsShown
    project_id: str
    created_at: Timestamp
    updated_at: Timestamp
    deleted_at: Timestamp | None


class BoundDevice(Device, frozen=True, kw_only=True):
    """A device that was just bound, and its token. Only this answer shows the token."""

    device_token: Annotated[str, msgspec.Meta(examples=["dtok_…"])]


class DeviceEvent(Device, frozen=True, kw_only=True):
    """The data of a device's event: the fields of the device, and the whole device again as `device`."""

    device: Device


class DevicePage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of devices, newest first."""

    data: list[Device]
    has_more: bool
    next_cursor: str | None


class CreateDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device to register; `device_type` is the older name of `model`."""

    serial_number: Serial
    model: Model | None = None
    device_type: Model | None = None
    name: Name | None = None
    firmware_version: Firmware | None = None
    metadata: ClientObject | None = None


def _change(section: str) -> msgspec.Meta:
    return msgspec.Meta(extra_json_schema=change_schema(section))


class SettingsChange(msgspec.Struct, frozen=True, kw_only=True):
    """Settings by section, merged into the stored settings. Null clears a section, an object or a field.

    Unknown sections and fields are ignored.
    """

    connection: Annotated[JsonObject, _change("connection")] | msgspec.UnsetType | None = msgspec.UNSET
    upload: Annotated[JsonObject, _change("upload")] | msgspec.UnsetType | None = msgspec.UNSET
    audio: Annotated[JsonObject, _change("audio")] | msgspec.UnsetType | None = msgspec.UNSET
    power: Annotated[JsonObject, _change("power")] | msgspec.UnsetType | None = msgspec.UNSET


class UpdateDevice(msgspec.Struct, frozen=True, kw_only=True):
    """Absent fields stay, null clears, `metadata` is replaced as a whole, `settings` are merged."""

    name: Name | msgspec.UnsetType | None = msgspec.UNSET
    firmware_version: Firmware | msgspec.UnsetType | None = msgspec.UNSET
    metadata: ClientObject | msgspec.UnsetType | None = msgspec.UNSET
    settings: SettingsChange | msgspec.UnsetType | None = msgspec.UNSET


class SettingsBody(SettingsChange, frozen=True, kw_only=True):
    """The sections, at the top or inside `settings`. So a client may send back the answer to GET as it is."""

    json_rules: ClassVar[dict[str, Any]] = {
        "not": {
            "required": ["settings"],
            "anyOf": [{"required": [name]} for name in _SECTIONS],
        }
    }

    settings: SettingsChange | msgspec.UnsetType | None = msgspec.UNSET


class CurrentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state that the device last reported, as the older routes of its settings show it.

    `network_type` is `last_seen_by` of the device's state. `is_roaming` and `data_used_today_mb` are always
    null, because heartbeats do not report them.
    """

    network_type: ConnectionKind | None
    signal_strength_dbm: int | None
    is_roaming: bool | None = None
    data_used_today_mb: int | None = None
    battery_percent: int | None
    storage_used_mb: int | None
    storage_total_mb: int | None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All sections of a device's settings; unset fields are absent."""

    connection: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=_SHOWN["connection"])]
    upload: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=_SHOWN["upload"])]
    audio: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=_SHOWN["audio"])]
    power: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=_SHOWN["power"])]


class OlderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A device's settings in the older form.

    `warnings` is there only if a setting without effect has another value than the configuration's default.
    """

    device_id: str
    settings: Settings
    warnings: list[ConfigWarning] | msgspec.UnsetType = msgspec.UNSET
    current_status: CurrentStatus
    updated_at: Timestamp


class RecordingNow(msgspec.Struct, frozen=True, kw_only=True):
    """The recording under way, according to the device's last report."""

    active: bool
    recording_id: str | None
    started_at: Timestamp | None
    initiated_by: Literal["local", "remote"] | None


class DeviceState(msgspec.Struct, frozen=True, kw_only=True):
    """The present state of a device; `online`: its last heartbeat is less than 15 minutes old."""

    device_id: str
    online: bool
    recording: RecordingNow
    battery_percent: int | None
    storage_used_mb: int | None
    storage_total_mb: int | None
    signal_strength_dbm: int | None
    last_heartbeat_at: Timestamp | None
    recording_state: ObjectOrNull
    last_synced_at: Timestamp | None
    last_seen_by: ConnectionKind | None
    last_synced_by: ConnectionKind | None
    binding_generation: int


class DeviceStats(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of the fleet, and its newest devices (100 at most; `GET /v1/devices` lists all)."""

    total_count: int
    online_count: int
    low_battery_count: int
    storage_full_count: int
    data: list[Device]


class DeviceQuery(PageQuery, frozen=True, kw_only=True):
    """The filters of the list of devices."""

    end_user_id: (
        Annotated[str, msgspec.Meta(description="Only devices that are bound to this end user.")] | None
    ) = None
    status: Status | None = None


class BindDevice(msgspec.Struct, frozen=True, kw_only=True):
    """The end user to whom the device is bound; `pk_d` is the device's public key."""

    end_user_id: str
    pk_d: PublicKey | None = None


class RefreshedToken(msgspec.Struct, frozen=True, kw_only=True):
    """The token that replaces a device's token."""

    device_token: Annotated[str, msgspec.Meta(examples=["dtok_…"])]
