"""Devices over HTTP.

A key scoped to one end user sees the devices bound to that end user and changes none, because a device
that it could bind might belong to another end user.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict
from lapel.foundation.http.access import OWN_DEVICE, READERS, Access
from lapel.foundation.http.routes import Routes, made
from lapel.slices.devices.errors import DeviceAlreadyBound
from lapel.slices.devices.wire import (
    BindDevice,
    BoundDevice,
    CreateDevice,
    Device,
    DevicePage,
    DeviceQuery,
    DeviceSettings,
    DeviceState,
    DeviceStats,
    RefreshedToken,
    SettingsBody,
    UpdateDevice,
)

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.slices.devices.service import Devices

_READ = Access("devices:read", READERS, "filter")
_WRITE = Access("devices:write")
_REFRESHING = replace(OWN_DEVICE, refreshing_tokens=True)
_ONE = "/v1/devices/{device_id}"


def operations(service: Devices) -> tuple[Operation, ...]:
    """All routes of devices."""
    devices = Routes("Devices", read=_READ, write=_WRITE)
    return (
        devices.post("/v1/devices", "create_device", Device, CreateDevice).stored(
            "Register a device",
            lambda call: made(service.register(call.connection, call.actor, call.body)),
            "The same serial number again answers 200 with the device as it is.",
            status=201,
            also=(200,),
            errors=(Conflict,),
            replay=lambda call, stored: service.replayed(call.actor, stored),
        ),
        devices.get("/v1/devices", "list_devices", DevicePage, DeviceQuery).plain(
            "List devices, newest first", lambda call: service.list(call.actor, call.query)
        ),
        devices.get("/v1/devices/stats", "get_device_stats", DeviceStats).plain(
            "The fleet in numbers",
            lambda call: service.stats(call.actor),
            "Online: a heartbeat in the last 15 minutes. Low battery: below 15 %. Full: more than 90 % "
            "of the storage used. `data` holds the 100 newest devices at most.",
        ),
        devices.get(_ONE, "get_device", Device).plain(
            "Read a device", lambda call: service.read(call.actor, call.id)
        ),
        devices.patch(_ONE, "update_device", Device, UpdateDevice).plain(
            "Change a device",
            lambda call: service.update(call.actor, call.id, call.body),
            "What is absent stays, null clears, `metadata` is replaced as a whole; `settings` are merged "
            "deeply (JSON Merge Patch), lists in them replaced, and unknown fields of them ignored.",
        ),
        devices.delete(_ONE, "delete_device").plain(
            "Delete an unbound device",
            lambda call: service.delete(call.actor, call.id),
            "Its commands, updates, diagnostics and configuration go with it; recordings stay and keep "
            "its id. The serial number may be registered anew, as another device.",
            errors=(DeviceAlreadyBound,),
        ),
        devices.get(f"{_ONE}/state", "get_device_state", DeviceState).plain(
            "What a device last reported", lambda call: service.state(call.actor, call.id)
        ),
        devices.get(f"{_ONE}/settings", "get_device_settings", DeviceSettings).plain(
            "A device's settings (older form)", lambda call: service.settings(call.actor, call.id)
        ),
        devices.put(f"{_ONE}/settings", "put_device_settings", DeviceSettings, SettingsBody).plain(
            "Set a device's settings as a whole (older form)",
            lambda call: service.change_settings(call.actor, call.id, call.body, reset=True),
            "What is left out goes back to the device's defaults.",
        ),
        devices.patch(f"{_ONE}/settings", "patch_device_settings", DeviceSettings, SettingsBody).plain(
            "Change some of a device's settings (older form)",
            lambda call: service.change_settings(call.actor, call.id, call.body, reset=False),
            "As `settings` in `PATCH /v1/devices/{device_id}`.",
        ),
        devices.post(f"{_ONE}/bind", "bind_device", BoundDevice, BindDevice).stored(
            "Bind a device to an end user",
            lambda call: service.bind(call.connection, call.actor, call.id, call.body),
            "The device token is shown this once. A bound device is refused, also for the same end "
            "user: repeat a lost answer with its Idempotency-Key, or unbind and bind again.",
            errors=(DeviceAlreadyBound,),
            replay=lambda call, stored: service.replayed(call.actor, stored),
        ),
        devices.post(f"{_ONE}/unbind", "unbind_device", Device).plain(
            "Unbind a device",
            lambda call: service.unbind(call.actor, call.id),
            "Its token stops working at once; recordings keep their owner. No effect when unbound.",
            natural=True,
        ),
        devices.post(
            f"{_ONE}/token/refresh", "refresh_device_token", RefreshedToken, access=_REFRESHING
        ).plain(
            "Replace the calling device's token",
            lambda call: service.refresh_token(call.actor, call.id),
            "`device_id` is the device's own, or `me`. The token called with may from now on only ask "
            "again, and not even that once the new one was used: a lost answer can be repeated.",
            natural=True,
        ),
    )
