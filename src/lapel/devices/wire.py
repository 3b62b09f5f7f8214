"""The contract's structs of devices."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from lapel.foundation.pages import PageQuery
from lapel.foundation.wire import JsonObject, Timestamp

Status: TypeAlias = Literal["unbound", "bound"]
Serial: TypeAlias = Annotated[
    str,
    msgspec.Meta(min_length=4, max_length=64, pattern=r"^[A-Za-z0-9_-]{4,64}\Z", examples=["PIN4G0042"]),
]
Model: TypeAlias = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9_]{1,64}\Z", examples=["bota_pin_4g"]),
]
PublicKey: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{128}\Z")]
Object: TypeAlias = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]
ObjectOrNull: TypeAlias = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": ["object", "null"]})]


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
    settings: Object
    project_id: str
    created_at: Timestamp
    updated_at: Timestamp
    deleted_at: Timestamp | None


class BoundDevice(Device, frozen=True, kw_only=True):
    """A device just bound, with the token that it calls with; shown this once."""

    device_token: Annotated[str, msgspec.Meta(examples=["dtok_…"])]


class DeviceEvent(Device, frozen=True, kw_only=True):
    """What events of a device carry: its fields, and the same under its own name."""

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
    name: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    firmware_version: Annotated[str, msgspec.Meta(max_length=64, examples=["1.4.2"])] | None = None
    metadata: JsonObject | None = None


class DeviceQuery(PageQuery, frozen=True, kw_only=True):
    """How to list devices."""

    end_user_id: Annotated[str, msgspec.Meta(description="Bound to this end user.")] | None = None
    status: Status | None = None


class BindDevice(msgspec.Struct, frozen=True, kw_only=True):
    """Who wears the device from now on; `pk_d` is the device's public key."""

    end_user_id: str
    pk_d: PublicKey | None = None


class RefreshedToken(msgspec.Struct, frozen=True, kw_only=True):
    """The next token of a device."""

    device_token: Annotated[str, msgspec.Meta(examples=["dtok_…"])]
