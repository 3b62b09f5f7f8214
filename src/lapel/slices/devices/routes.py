"""Devices over HTTP.

A key scoped to one end user sees the devices bound to that end user and changes none, because a device
that it could bind might belong to another end user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict, Forbidden, NotFound
from lapel.foundation.http.operations import NoBody, NoQuery, Operation, Params, Reply
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
    from lapel.foundation.core.actors import Actor, ActorKind
    from lapel.foundation.database.connection import Connection
    from lapel.slices.devices.service import Devices

_READERS: frozenset[ActorKind] = frozenset({"key", "end_user"})


class _Routes:
    def __init__(self, service: Devices) -> None:
        self._service = service

    async def register(
        self, connection: Connection, actor: Actor, _params: Params, _query: NoQuery, body: CreateDevice
    ) -> Reply:
        device, is_new = await self._service.register(connection, actor, body)
        return Reply(device, status=201 if is_new else 200)

    async def replayed(self, actor: Actor, _params: Params, stored: Device) -> Device:
        return await self._service.replayed(actor, stored)

    async def stats(self, actor: Actor, _params: Params, _query: NoQuery, _body: NoBody) -> DeviceStats:
        return await self._service.stats(actor)

    async def update(self, actor: Actor, params: Params, _query: NoQuery, body: UpdateDevice) -> Device:
        return await self._service.update(actor, params["device_id"], body)

    async def delete(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> None:
        await self._service.delete(actor, params["device_id"])

    async def state(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> DeviceState:
        return await self._service.state(actor, params["device_id"])

    async def settings(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> DeviceSettings:
        return await self._service.settings(actor, params["device_id"])

    async def put_settings(
        self, actor: Actor, params: Params, _query: NoQuery, body: SettingsBody
    ) -> DeviceSettings:
        return await self._service.change_settings(actor, params["device_id"], body, reset=True)

    async def patch_settings(
        self, actor: Actor, params: Params, _query: NoQuery, body: SettingsBody
    ) -> DeviceSettings:
        return await self._service.change_settings(actor, params["device_id"], body, reset=False)

    async def list(self, actor: Actor, _params: Params, query: DeviceQuery, _body: NoBody) -> DevicePage:
        return await self._service.list(actor, query)

    async def read(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> Device:
        return await self._service.read(actor, params["device_id"])

    async def bind(
        self, connection: Connection, actor: Actor, params: Params, _query: NoQuery, body: BindDevice
    ) -> BoundDevice:
        return await self._service.bind(connection, actor, params["device_id"], body)

    async def unbind(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> Device:
        return await self._service.unbind(actor, params["device_id"])

    async def refresh_token(
        self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody
    ) -> RefreshedToken:
        return await self._service.refresh_token(actor, params["device_id"])


def operations(service: Devices) -> tuple[Operation, ...]:
    """All routes of devices."""
    routes = _Routes(service)
    return (
        Operation(
            method="POST",
            path="/v1/devices",
            name="create_device",
            summary="Register a device",
            description="The same serial number again answers 200 with the device as it is.",
            tag="Devices",
            handler=routes.register,
            scope="devices:write",
            body=CreateDevice,
            response=Device,
            status=201,
            also=(200,),
            errors=(Conflict,),
            idempotency="stored",
            replay=routes.replayed,
        ),
        Operation(
            method="GET",
            path="/v1/devices",
            name="list_devices",
            summary="List devices, newest first",
            tag="Devices",
            handler=routes.list,
            scope="devices:read",
            callers=_READERS,
            end_user_keys="filter",
            query=DeviceQuery,
            response=DevicePage,
        ),
        Operation(
            method="GET",
            path="/v1/devices/stats",
            name="get_device_stats",
            summary="The fleet in numbers",
            description=(
                "Online: a heartbeat in the last 15 minutes. Low battery: below 15 %. Full: more than 90 % "
                "of the storage used. `data` holds the 100 newest devices at most."
            ),
            tag="Devices",
            handler=routes.stats,
            scope="devices:read",
            callers=_READERS,
            end_user_keys="filter",
            response=DeviceStats,
        ),
        Operation(
            method="GET",
            path="/v1/devices/{device_id}",
            name="get_device",
            summary="Read a device",
            tag="Devices",
            handler=routes.read,
            scope="devices:read",
            callers=_READERS,
            end_user_keys="filter",
            response=Device,
            errors=(NotFound,),
        ),
        Operation(
            method="PATCH",
            path="/v1/devices/{device_id}",
            name="update_device",
            summary="Change a device",
            description=(
                "What is absent stays, null clears, `metadata` is replaced as a whole; `settings` are merged "
                "deeply (JSON Merge Patch), lists in them replaced, and unknown fields of them ignored."
            ),
            tag="Devices",
            handler=routes.update,
            scope="devices:write",
            body=UpdateDevice,
            response=Device,
            errors=(NotFound,),
            idempotency="natural",
        ),
        Operation(
            method="DELETE",
            path="/v1/devices/{device_id}",
            name="delete_device",
            summary="Delete an unbound device",
            description=(
                "Its commands, updates, diagnostics and configuration go with it; recordings stay and keep "
                "its id. The serial number may be registered anew, as another device."
            ),
            tag="Devices",
            handler=routes.delete,
            scope="devices:write",
            answer="empty",
            status=204,
            errors=(NotFound, DeviceAlreadyBound),
        ),
        Operation(
            method="GET",
            path="/v1/devices/{device_id}/state",
            name="get_device_state",
            summary="What a device last reported",
            tag="Devices",
            handler=routes.state,
            scope="devices:read",
            callers=_READERS,
            end_user_keys="filter",
            response=DeviceState,
            errors=(NotFound,),
        ),
        Operation(
            method="GET",
            path="/v1/devices/{device_id}/settings",
            name="get_device_settings",
            summary="A device's settings (older form)",
            tag="Devices",
            handler=routes.settings,
            scope="devices:read",
            callers=_READERS,
            end_user_keys="filter",
            response=DeviceSettings,
            errors=(NotFound,),
        ),
        Operation(
            method="PUT",
            path="/v1/devices/{device_id}/settings",
            name="put_device_settings",
            summary="Set a device's settings as a whole (older form)",
            description="What is left out goes back to the device's defaults.",
            tag="Devices",
            handler=routes.put_settings,
            scope="devices:write",
            body=SettingsBody,
            response=DeviceSettings,
            errors=(NotFound,),
            idempotency="natural",
        ),
        Operation(
            method="PATCH",
            path="/v1/devices/{device_id}/settings",
            name="patch_device_settings",
            summary="Change some of a device's settings (older form)",
            description="As `settings` in `PATCH /v1/devices/{device_id}`.",
            tag="Devices",
            handler=routes.patch_settings,
            scope="devices:write",
            body=SettingsBody,
            response=DeviceSettings,
            errors=(NotFound,),
            idempotency="natural",
        ),
        Operation(
            method="POST",
            path="/v1/devices/{device_id}/bind",
            name="bind_device",
            summary="Bind a device to an end user",
            description=(
                "The device token is shown this once. A bound device is refused, also for the same end "
                "user: repeat a lost answer with its Idempotency-Key, or unbind and bind again."
            ),
            tag="Devices",
            handler=routes.bind,
            scope="devices:write",
            body=BindDevice,
            response=BoundDevice,
            errors=(NotFound, DeviceAlreadyBound),
            idempotency="stored",
            replay=routes.replayed,
        ),
        Operation(
            method="POST",
            path="/v1/devices/{device_id}/unbind",
            name="unbind_device",
            summary="Unbind a device",
            description=(
                "Its token stops working at once; recordings keep their owner. No effect when unbound."
            ),
            tag="Devices",
            handler=routes.unbind,
            scope="devices:write",
            response=Device,
            errors=(NotFound,),
            idempotency="natural",
        ),
        Operation(
            method="POST",
            path="/v1/devices/{device_id}/token/refresh",
            name="refresh_device_token",
            summary="Replace the calling device's token",
            description=(
                "`device_id` is the device's own, or `me`. The token called with may from now on only ask "
                "again, and not even that once the new one was used: a lost answer can be repeated."
            ),
            tag="Devices",
            handler=routes.refresh_token,
            scope=None,
            callers=frozenset({"device"}),
            response=RefreshedToken,
            errors=(Forbidden,),
            idempotency="natural",
            refreshing_tokens=True,
        ),
    )
