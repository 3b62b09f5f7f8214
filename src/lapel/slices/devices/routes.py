"""Devices over HTTP.

A key scoped to one end user sees the devices that are bound to that end user. It changes no device: otherwise
it could bind a device that belongs to another end user.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict
from lapel.foundation.http.authorization import Access
from lapel.foundation.http.routes import Routes, created
from lapel.slices.devices.access import OWN_DEVICE
from lapel.slices.devices.errors import DeviceAlreadyBound
from lapel.slices.devices.wire import (
    BindDevice,
    BoundDevice,
    CreateDevice,
    Device,
    DevicePage,
    DeviceQuery,
    DeviceState,
    DeviceStats,
    OlderSettings,
    RefreshedToken,
    SettingsBody,
    UpdateDevice,
)
from lapel.slices.end_users.service import READERS

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.slices.devices.service import DeviceBindings, Devices

_READ = Access("devices:read", READERS, "filter")
_WRITE = Access("devices:write")
# The device token, which only the answer shows, writes recordings of the end user.
_BIND = replace(_WRITE, more_scopes=("recordings:write",))
_REFRESHING = replace(OWN_DEVICE, refreshing_tokens=True)
_ONE = "/v1/devices/{device_id}"


def operations(service: Devices, bindings: DeviceBindings) -> tuple[Operation, ...]:
    """All routes of devices."""
    devices = Routes("Devices", read=_READ, write=_WRITE)
    return (
        devices.post("/v1/devices", "create_device", Device, CreateDevice).stored(
            "Register a device",
            lambda call: created(service.register(call.connection, call.actor, call.body)),
            "If the serial number is already registered, the answer is 200 with that device, unchanged.",
            status=201,
            also=(200,),
            errors=(Conflict,),
            replay=lambda call, stored: service.replayed(call.actor, stored),
            audit="device.created",
        ),
        devices.get("/v1/devices", "list_devices", DevicePage, DeviceQuery).plain(
            "List devices, newest first", lambda call: service.list(call.actor, call.query)
        ),
        devices.get("/v1/devices/stats", "get_device_stats", DeviceStats).plain(
            "Count the fleet",
            lambda call: service.stats(call.actor),
            "`online_count`: a heartbeat came in the last 15 minutes. `low_battery_count`: below 15 %. "
            "`storage_full_count`: more than 90 % of the storage is used. `data` has the 100 newest devices "
            "at most.",
        ),
        devices.get(_ONE, "get_device", Device).plain(
            "Read a device", lambda call: service.read(call.actor, call.id)
        ),
        devices.patch(_ONE, "update_device", Device, UpdateDevice).plain(
            "Change a device",
            lambda call: service.update(call.actor, call.id, call.body),
            "Absent fields stay, null clears, `metadata` is replaced as a whole. `settings` are merged "
            "deeply (JSON Merge Patch): a list replaces the stored list, and unknown fields are ignored.",
            audit="device.updated",
        ),
        devices.delete(_ONE, "delete_device").plain(
            "Delete an unbound device",
            lambda call: service.delete(call.actor, call.id),
            "The device's commands, updates, diagnostics and configuration are deleted too. Its recordings "
            "stay, and keep the device's id. The serial number may be registered again, as another device.",
            errors=(DeviceAlreadyBound,),
            audit="device.deleted",
        ),
        devices.get(f"{_ONE}/state", "get_device_state", DeviceState).plain(
            "Read the state that a device last reported", lambda call: service.state(call.actor, call.id)
        ),
        devices.get(f"{_ONE}/settings", "get_device_settings", OlderSettings).plain(
            "Read a device's settings (older form)", lambda call: service.settings(call.actor, call.id)
        ),
        devices.put(f"{_ONE}/settings", "put_device_settings", OlderSettings, SettingsBody).plain(
            "Set a device's settings as a whole (older form)",
            lambda call: service.change_settings(call.actor, call.id, call.body, reset=True),
            "Settings that are left out return to the device's defaults.",
            audit="device.updated",
        ),
        devices.patch(f"{_ONE}/settings", "patch_device_settings", OlderSettings, SettingsBody).plain(
            "Change some of a device's settings (older form)",
            lambda call: service.change_settings(call.actor, call.id, call.body, reset=False),
            "Merges like `settings` in `PATCH /v1/devices/{device_id}`.",
            audit="device.updated",
        ),
        devices.post(f"{_ONE}/bind", "bind_device", BoundDevice, BindDevice, access=_BIND).stored(
            "Bind a device to an end user",
            lambda call: bindings.bind(call.connection, call.actor, call.id, call.body),
            "Only this answer shows the device token. A device that is already bound is refused, even for "
            "the same end user. If the answer is lost, repeat the request with its Idempotency-Key, or "
            "unbind the device and bind it again.",
            errors=(DeviceAlreadyBound,),
            replay=lambda call, stored: service.replayed(call.actor, stored),
            audit="device.bound",
        ),
        devices.post(f"{_ONE}/unbind", "unbind_device", Device).plain(
            "Unbind a device",
            lambda call: bindings.unbind(call.actor, call.id),
            "The device's token stops working at once; recordings keep their end user. Unbinding an "
            "unbound device changes nothing.",
            natural=True,
            audit="device.unbound",
        ),
        devices.post(
            f"{_ONE}/token/refresh", "refresh_device_token", RefreshedToken, access=_REFRESHING
        ).plain(
            "Replace the calling device's token",
            lambda call: bindings.refresh_token(call.actor, call.id),
            "`device_id` is the calling device's own, or `me`. After this call, the old token may only "
            "repeat the call, in case the answer was lost. When the new token is first used, the old token "
            "ends.",
            natural=True,
            audit="device.token_refreshed",
        ),
    )
