"""From rows to the contract's structs of a device."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import msgspec

from lapel.foundation.core.clock import timestamp, timestamp_or_none
from lapel.foundation.http.input.fields import raw
from lapel.slices.devices.settings_bodies import in_sections, shown
from lapel.slices.devices.wire import CurrentStatus, Device, DeviceState, OlderSettings, RecordingNow

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.slices.devices.rows import DeviceRow, SeenRow, StateRow

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
# The recording state of a device that has not reported one, as JSON.
UNREPORTED_STATE = '{"device_state": null, "pending_recordings": 0, "flags": null, "connection_type": []}'
_UNREPORTED = _fields(UNREPORTED_STATE)
# A device whose last heartbeat is older than this is offline. Texts in routes.py and wire.py repeat
# these 15 minutes.
ONLINE_FOR = timedelta(minutes=15)


# The time of each kind of report, and what came with it.
_REPORTS = {
    "last_heartbeat_at": (
        "battery_percent",
        "storage_used_mb",
        "storage_total_mb",
        "signal_strength_dbm",
        "recording_state",
        "active_since",
        "active_recording_id",
        "initiated_by",
    ),
    "last_seen_at": ("last_seen_by",),
    "last_synced_at": ("last_synced_by",),
}

Seen = TypeVar("Seen", bound="DeviceRow")


def is_online(row: DeviceRow, now: datetime) -> bool:
    """Whether the device's last heartbeat is recent."""
    last = row.last_heartbeat_at
    return last is not None and last > now - ONLINE_FOR


def seen_by(row: Seen, end_user_id: str | None) -> Seen:
    """A device as this end user sees it; None: the project, which sees all.

    What the device reported before its present binding is about an earlier wearer. An end user does not see
    it: until the first heartbeat of the binding these fields are null.
    """
    return row if end_user_id is None else reported_since(row, row.bound_at)


def reported_since(row: Seen, bound_at: datetime | None) -> Seen:
    """A device without what it reported before a binding that began at `bound_at`; None: with all reports."""
    if bound_at is None:
        return row
    hidden: dict[str, None] = {}
    for time, reported in _REPORTS.items():
        if (reported_at := getattr(row, time)) is not None and reported_at < bound_at:
            hidden |= dict.fromkeys((time, *reported))
    known = {name: None for name in hidden if name in row.__struct_fields__}
    return msgspec.structs.replace(row, **known) if known else row


def _used_mb(row: DeviceRow) -> int | None:
    """The used storage that the device reported, but never more than its total."""
    used = row.storage_used_mb
    total = row.storage_total_mb
    return used if used is None or total is None else min(used, total)


def _recording_state(row: DeviceRow) -> msgspec.Raw:
    """The reported state, or null. Fields that an earlier version did not store are filled in."""
    stored = row.recording_state
    if stored is None:
        return raw(None)
    return msgspec.Raw(msgspec.json.encode(_UNREPORTED | _fields(stored)))


def device_of(row: DeviceRow, project_id: str) -> Device:
    """A device with all its fields."""
    return Device(
        id=row.id,
        serial_number=row.serial_number,
        model=row.model,
        device_type=row.model,
        name=row.name,
        firmware_version=row.firmware_version,
        status="unbound" if row.end_user_id is None else "bound",
        end_user_id=row.end_user_id,
        binding_generation=row.binding_generation,
        bound_at=timestamp_or_none(row.bound_at),
        battery_percent=row.battery_percent,
        storage_used_mb=_used_mb(row),
        storage_total_mb=row.storage_total_mb,
        signal_strength_dbm=row.signal_strength_dbm,
        last_heartbeat_at=timestamp_or_none(row.last_heartbeat_at),
        last_seen_at=timestamp_or_none(row.last_seen_at),
        last_synced_at=timestamp_or_none(row.last_synced_at),
        recording_state=_recording_state(row),
        metadata=raw(row.metadata),
        settings=shown(row.settings),
        project_id=project_id,
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
        # Always null: no statement reads a deleted device.
        deleted_at=None,
    )


def state_of(row: StateRow, now: datetime) -> DeviceState:
    """The present state. The recording comes from the last report, even if the device is silent now."""
    since = row.active_since
    return DeviceState(
        device_id=row.id,
        online=is_online(row, now),
        recording=RecordingNow(
            active=since is not None,
            recording_id=row.active_recording_id,
            started_at=timestamp_or_none(since),
            initiated_by=row.initiated_by,
        ),
        battery_percent=row.battery_percent,
        storage_used_mb=_used_mb(row),
        storage_total_mb=row.storage_total_mb,
        signal_strength_dbm=row.signal_strength_dbm,
        last_heartbeat_at=timestamp_or_none(row.last_heartbeat_at),
        recording_state=_recording_state(row),
        last_synced_at=timestamp_or_none(row.last_synced_at),
        last_seen_by=row.last_seen_by,
        last_synced_by=row.last_synced_by,
        binding_generation=row.binding_generation,
    )


def settings_of(row: SeenRow) -> OlderSettings:
    """A device's settings in the older form."""
    settings, warnings = in_sections(row.settings)
    return OlderSettings(
        device_id=row.id,
        settings=settings,
        warnings=warnings,
        current_status=CurrentStatus(
            network_type=row.last_seen_by,
            battery_percent=row.battery_percent,
            storage_used_mb=_used_mb(row),
            storage_total_mb=row.storage_total_mb,
            signal_strength_dbm=row.signal_strength_dbm,
        ),
        updated_at=timestamp(row.updated_at),
    )
