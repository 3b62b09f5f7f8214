"""Rows that the statements of devices give. `metadata`, `settings` and `recording_state` are JSON texts."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from lapel.slices.devices.wire import ConnectionKind


class DeviceRow(msgspec.Struct, frozen=True):
    """A device."""

    id: str
    serial_number: str
    model: str
    name: str | None
    firmware_version: str | None
    end_user_id: str | None
    binding_generation: int
    bound_at: datetime | None
    battery_percent: int | None
    storage_used_mb: int | None
    storage_total_mb: int | None
    signal_strength_dbm: int | None
    last_heartbeat_at: datetime | None
    last_seen_at: datetime | None
    last_synced_at: datetime | None
    recording_state: str | None
    metadata: str
    settings: str
    created_at: datetime
    updated_at: datetime


class UnboundRow(DeviceRow, frozen=True):
    """A device that was just unbound, with the beginning of that binding, and its world's project."""

    began: datetime | None
    project_id: str


class SeenRow(DeviceRow, frozen=True):
    """A device, and the connection of its last heartbeat."""

    last_seen_by: ConnectionKind | None


class StateRow(SeenRow, frozen=True):
    """A device, and the recording that it makes now."""

    active_since: datetime | None
    initiated_by: Literal["local", "remote"] | None
    last_synced_by: ConnectionKind | None
    active_recording_id: str | None


class FoundStateRow(StateRow, frozen=True):
    """The device of one of several questions. `place`: the question, counted from 1."""

    place: int


class DeviceSummary(msgspec.Struct, frozen=True):
    """The columns of a device that other slices need."""

    id: str
    serial_number: str
    model: str
    firmware_version: str | None
    end_user_id: str | None
    binding_generation: int


class LockedBindingRow(msgspec.Struct, frozen=True):
    """The binding of a device that is locked. None: the device is not bound."""

    end_user_id: str | None
    bound_at: datetime | None


class LockedDeviceRow(msgspec.Struct, frozen=True):
    """A device that is locked to be deleted."""

    end_user_id: str | None


class CountsRow(msgspec.Struct, frozen=True):
    """Counts of devices."""

    total_count: int
    online_count: int
    low_battery_count: int
    storage_full_count: int


class SilentRow(msgspec.Struct, frozen=True):
    """A device that has sent no heartbeat lately. `heartbeat_slot` is in minutes since 1970."""

    world_id: int
    project_id: str
    id: str
    last_heartbeat_at: datetime
    heartbeat_slot: int
