"""The rules of devices: one device per serial number, bound to one end user at a time, with one token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar

import msgspec

from lapel.foundation.core.errors import Conflict, Forbidden, Unauthorized
from lapel.foundation.database import audit, outbox
from lapel.foundation.http.input.fields import given, metadata_text, value_of
from lapel.foundation.http.input.pagination import PageQuery, page, window
from lapel.foundation.identity.tokens import new_token
from lapel.slices.devices import events, queries, settings_bodies
from lapel.slices.devices.access import (
    OWN_DEVICE,
    device_of_row,
    find_device,
    lock_active_device,
    lock_device,
    lock_settings,
    mark_synced,
    unknown_device,
)
from lapel.slices.devices.counting import LOW_BATTERY_PERCENT, FleetCounts, count
from lapel.slices.devices.errors import DeviceAlreadyBound
from lapel.slices.devices.queries import COUNT_DEVICES, client_context
from lapel.slices.devices.reports.report_queries import (
    LOCKED_BEAT,
    OF_KEY,
    OF_TOKEN,
    STORED,
    begin_low_battery,
    begin_offline,
    find_silent,
    forget_reports,
    store_active,
    store_idle,
)
from lapel.slices.devices.tokens import lookup_queries, token_queries
from lapel.slices.devices.views import ONLINE_FOR, device_of, settings_of, state_of
from lapel.slices.devices.wire import BoundDevice, DevicePage, DeviceQuery, DeviceStats, RefreshedToken
from lapel.slices.end_users.service import lock_active_end_user

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.devices.rows import DeviceSummary, StateRow
    from lapel.slices.devices.wire import (
        BindDevice,
        ConnectionKind,
        CreateDevice,
        Device,
        DeviceSettings,
        DeviceState,
        SettingsBody,
        UpdateDevice,
    )

__all__ = [
    "COUNT_DEVICES",
    "LOCKED_BEAT",
    "LOW_BATTERY_PERCENT",
    "OF_KEY",
    "OF_TOKEN",
    "ONLINE_FOR",
    "OWN_DEVICE",
    "STORED",
    "ConnectionKind",
    "DeviceQuery",
    "DeviceSummary",
    "Devices",
    "Hook",
    "begin_low_battery",
    "begin_offline",
    "client_context",
    "device_of_row",
    "find_device",
    "find_silent",
    "forget_reports",
    "lock_active_device",
    "lock_device",
    "mark_synced",
    "store_active",
    "store_idle",
    "unknown_device",
]

# `(connection, world id, device ids, now)`, called in the transaction that binds, unbinds or deletes the
# devices. The transaction has locked the devices' rows already, so a hook locks its own rows after them.
Hook: TypeAlias = Callable[["Connection", int, list[str], datetime], Awaitable[None]]

# The model of a device that is registered without a model. The server guesses no model, because it offers
# firmware by model.
UNKNOWN_MODEL = "unknown"
_STATS_DEVICES = 100  # the most devices that `stats` lists
# `register` tries again when the device that has the serial number is deleted before it is read.
_TRIES = 3
_Stored = TypeVar("_Stored", bound="Device")


class Devices:
    """Operations on devices. Methods that open a connection raise Unavailable while the database fails."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._counts = FleetCounts(ports.database)
        # Hooks of other slices, called inside the transaction of the change. app.py adds them.
        self.on_bind: Final[list[Hook]] = []
        self.on_unbind: Final[list[Hook]] = []
        self.on_delete: Final[list[Hook]] = []

    async def register(self, connection: Connection, actor: Actor, body: CreateDevice) -> tuple[Device, bool]:
        """The device with this serial number, and whether this call registered it.

        A device that was registered before is not changed.

        Raises Conflict when other requests keep registering and deleting a device of this serial number, and
        InvalidRequest when `metadata` is too large.
        """
        metadata = metadata_text(body.metadata)
        for _ in range(_TRIES):
            row = await queries.insert(
                connection,
                actor.world_id,
                self._ports.ids.new("dev"),
                body.serial_number,
                body.model or body.device_type or UNKNOWN_MODEL,
                body.name,
                body.firmware_version,
                metadata,
                self._ports.clock.now(),
            )
            if row is not None:
                await self._note(connection, actor, "device.created", row.id, row.end_user_id)
                return device_of(row, actor.project_id), True
            row = await queries.read_by_serial(connection, actor.world_id, body.serial_number)
            if row is not None:
                return device_of(row, actor.project_id), False
        raise Conflict("The device with this serial number is being changed. Repeat the request.")

    async def replayed(self, actor: Actor, stored: _Stored) -> _Stored:
        """The stored answer, for a repeat. Raises NotFound when the device is deleted."""
        await self.read(actor, stored.id)
        return stored

    async def read(self, actor: Actor, device_id: str) -> Device:
        """One device. Raises NotFound when the caller reaches no such device."""
        return device_of(await self._row(actor, device_id), actor.project_id)

    async def state(self, actor: Actor, device_id: str) -> DeviceState:
        """The present state of a device. Raises NotFound when the caller reaches no such device."""
        return state_of(await self._row(actor, device_id), self._ports.clock.now())

    async def settings(self, actor: Actor, device_id: str) -> DeviceSettings:
        """A device's settings in the older form. Raises NotFound when the caller reaches no such device."""
        return settings_of(await self._row(actor, device_id))

    async def _row(self, actor: Actor, device_id: str) -> StateRow:
        async with self._ports.database.acquire() as connection:
            row = await queries.read(connection, actor.world_id, device_id, actor.end_user_id)
        if row is None:
            raise unknown_device()
        return row

    async def list(self, actor: Actor, query: DeviceQuery) -> DevicePage:
        """One page, newest first. Raises InvalidRequest for a bad cursor."""
        asked = window(query, "devices")
        own, wanted = actor.end_user_id, query.end_user_id
        end_user_id = wanted if own is None else own
        if (wanted is not None and wanted != end_user_id) or (
            end_user_id is not None and query.status == "unbound"
        ):
            return DevicePage(data=[], has_more=False, next_cursor=None)
        bound = None if query.status is None else query.status == "bound"
        async with self._ports.database.acquire() as connection:
            rows = await queries.list_page(connection, actor.world_id, asked, end_user_id, bound)
        data, has_more, next_cursor = page(rows, asked, lambda row: device_of(row, actor.project_id))
        return DevicePage(data=data, has_more=has_more, next_cursor=next_cursor)

    async def stats(self, actor: Actor) -> DeviceStats:
        """The counts of the fleet, and its newest devices."""
        own, now = actor.end_user_id, self._ports.clock.now()
        newest = window(PageQuery(limit=_STATS_DEVICES), "devices")
        counts = await self._counts.of_world(actor.world_id, now) if own is None else None
        async with self._ports.database.acquire() as connection:
            if counts is None:
                counts = await count(connection, actor.world_id, now, own)
            rows = await queries.list_page(connection, actor.world_id, newest, own, None)
        data, _, _ = page(rows, newest, lambda row: device_of(row, actor.project_id))
        return DeviceStats(**msgspec.structs.asdict(counts), data=data)

    async def update(self, actor: Actor, device_id: str, body: UpdateDevice) -> Device:
        """Change the given fields.

        Raises NotFound when there is no such device, and InvalidRequest for an invalid setting or when
        `metadata` is too large.
        """
        if all(getattr(body, name) is msgspec.UNSET for name in body.__struct_fields__):
            return await self.read(actor, device_id)
        metadata = (body.metadata is not msgspec.UNSET, metadata_text(value_of(body.metadata)))
        change, world_id = settings_bodies.change_of(value_of(body.settings)), actor.world_id
        async with self._ports.database.transaction() as connection:
            settings = (False, settings_bodies.NOTHING)
            if body.settings is not msgspec.UNSET:
                stored = await lock_settings(connection, world_id, device_id)
                settings = (True, settings_bodies.merged(stored, change))
            row = await queries.update(
                connection,
                world_id,
                device_id,
                self._ports.clock.now(),
                name=given(body.name),
                firmware_version=given(body.firmware_version),
                metadata=metadata,
                settings=settings,
            )
            if row is None:
                raise unknown_device()
            await self._note(connection, actor, "device.updated", device_id, row.end_user_id)
        return device_of(row, actor.project_id)

    async def change_settings(
        self, actor: Actor, device_id: str, body: SettingsBody, *, reset: bool
    ) -> DeviceSettings:
        """Merge the body into the device's settings. With `reset`, the body replaces the settings.

        Raises NotFound when there is no such device, and InvalidRequest for an invalid setting or when the
        body has sections both inside `settings` and beside it.
        """
        change, world_id, now = settings_bodies.body_change(body), actor.world_id, self._ports.clock.now()
        async with self._ports.database.transaction() as connection:
            stored = (
                settings_bodies.NOTHING if reset else await lock_settings(connection, world_id, device_id)
            )
            settings = settings_bodies.merged(stored, change)
            row = await queries.update(connection, world_id, device_id, now, settings=(True, settings))
            if row is None:
                raise unknown_device()
            await self._note(connection, actor, "device.updated", device_id, row.end_user_id)
        return settings_of(row)

    async def delete(self, actor: Actor, device_id: str) -> None:
        """Delete an unbound device and the rows about it; its recordings stay.

        Raises NotFound when there is no such device, and DeviceAlreadyBound when it is bound.
        """
        now, world_id = self._ports.clock.now(), actor.world_id
        async with self._ports.database.transaction() as connection:
            locked = await queries.lock_to_delete(connection, world_id, device_id)
            if locked is None:
                raise unknown_device()
            if locked.end_user_id is not None:
                raise DeviceAlreadyBound("This device is bound. Unbind it first.", resource_id=device_id)
            for hook in self.on_delete:
                await hook(connection, world_id, [device_id], now)
            await outbox.erase(connection, world_id, [device_id])
            await queries.delete(connection, world_id, device_id, now)
            await self._note(connection, actor, "device.deleted", device_id, None)

    async def bind(
        self, connection: Connection, actor: Actor, device_id: str, body: BindDevice
    ) -> BoundDevice:
        """Bind a device to an end user.

        Raises NotFound when the device or the end user does not exist. Raises DeviceAlreadyBound when the
        device is bound, even to the same end user: the answer contains a token, and a second token would
        revoke the first token, which may be in use. A client that lost the answer repeats the request with
        its Idempotency-Key, or unbinds the device.
        """
        now, world_id = self._ports.clock.now(), actor.world_id
        await lock_active_end_user(connection, world_id, body.end_user_id)
        row = await queries.bind(connection, world_id, device_id, body.end_user_id, body.pk_d, now)
        if row is None:
            if await queries.read(connection, world_id, device_id, None) is None:
                raise unknown_device()
            raise DeviceAlreadyBound("This device is bound. Unbind it first.", resource_id=device_id)
        device = device_of(row, actor.project_id)
        token = new_token(lookup_queries.PREFIX)
        await token_queries.delete_tokens(connection, world_id, [device_id])
        await token_queries.insert_token(
            connection,
            world_id,
            device_id,
            self._ports.hasher.hash(token),
            self._ports.hasher.secret_id,
            device.binding_generation,
            "current",
            now,
        )
        await events.publish_bindings(
            connection, self._ports.ids, now, world_id, "device.bound", [device], device.end_user_id
        )
        for hook in self.on_bind:
            await hook(connection, world_id, [device_id], now)
        await self._note(connection, actor, "device.bound", device_id, body.end_user_id)
        return BoundDevice(**msgspec.structs.asdict(device), device_token=token)

    async def unbind(self, actor: Actor, device_id: str) -> Device:
        """Unbind a device and revoke its token. No effect if the device is unbound.

        Raises NotFound when there is no such device.
        """
        now, world_id, project_id = self._ports.clock.now(), actor.world_id, actor.project_id
        async with self._ports.database.transaction() as connection:
            unbound = await self.unbind_in(connection, world_id, project_id, device_id, now)
            if unbound is not None:
                await self._note(connection, actor, "device.unbound", device_id, unbound[1])
        return await self.read(actor, device_id) if unbound is None else unbound[0]

    async def unbind_in(
        self, connection: Connection, world_id: int, project_id: str, device_id: str, now: datetime
    ) -> tuple[Device, str | None] | None:
        """`unbind` in the caller's transaction: the device, and its end user until now; None if not bound."""
        end_user_id = await queries.lock_binding(connection, world_id, device_id)
        row = await queries.unbind(connection, world_id, device_id, now)
        if row is None:
            return None
        device = device_of(row, project_id)
        await self._unbound(connection, world_id, [device], now, end_user_id)
        return device, end_user_id

    async def unbind_all_of(
        self, connection: Connection, world_id: int, end_user_id: str, now: datetime
    ) -> None:
        """Unbind the devices of an end user that is being deleted."""
        rows = await queries.unbind_all(connection, world_id, end_user_id, now)
        devices = [device_of(row, row.project_id) for row in rows]
        await self._unbound(connection, world_id, devices, now, None)

    async def refresh_token(self, actor: Actor, device_id: str) -> RefreshedToken:
        """Issue the next token of the calling device.

        From now on the calling token may only repeat this call, in case the answer was lost. A repeat
        replaces the new token if it was never used. The first use of the new token deletes the calling token.

        Raises Forbidden for another device's id, and Unauthorized when the caller's token was revoked or
        replaced meanwhile.
        """
        if device_id not in ("me", actor.id):
            raise Forbidden("A device may refresh only its own token.")
        now, world_id, caller = self._ports.clock.now(), actor.world_id, actor.token_hash
        token = new_token(lookup_queries.PREFIX)
        async with self._ports.database.transaction() as connection:
            generation = await token_queries.lock(connection, world_id, actor.id)
            # After the authentication, the device may have been unbound, or its new token may have been used.
            if generation is None or not await token_queries.token_lives(
                connection, world_id, actor.id, caller
            ):
                raise Unauthorized("This device token was revoked or replaced.")
            await token_queries.delete_other_tokens(connection, world_id, actor.id, caller)
            await token_queries.keep_for_refresh(connection, world_id, actor.id, caller)
            await token_queries.insert_token(
                connection, world_id, actor.id, self._ports.hasher.hash(token), self._ports.hasher.secret_id,
                generation, "fresh", now,
            )  # fmt: skip
            await self._note(connection, actor, "device.token_refreshed", actor.id, actor.end_user_id)
        return RefreshedToken(device_token=token)

    async def tell(
        self,
        connection: Connection,
        world_id: int,
        project_id: str,
        type: Literal["device.low_battery", "device.offline"],  # noqa: A002 - the contract's word
        began: Mapping[str, datetime],
        now: datetime,
    ) -> None:
        """Write one event for each device's episode. `began` maps a device's id to the episode's start."""
        rows = await queries.read_many(connection, world_id, list(began))
        episodes = [(device_of(row, project_id), began[row.id]) for row in rows]
        await events.publish_episodes(connection, self._ports.ids, now, world_id, type, episodes)

    async def _note(
        self, connection: Connection, actor: Actor, action: str, device_id: str, end_user_id: str | None
    ) -> None:
        ids, now = self._ports.ids, self._ports.clock.now()
        await audit.note(connection, ids, now, actor, action, device_id, end_user_id)

    async def _unbound(
        self,
        connection: Connection,
        world_id: int,
        devices: list[Device],
        now: datetime,
        end_user_id: str | None,
    ) -> None:
        device_ids = [device.id for device in devices]
        if not device_ids:
            return
        await token_queries.delete_tokens(connection, world_id, device_ids)
        for hook in self.on_unbind:
            await hook(connection, world_id, device_ids, now)
        await events.publish_bindings(
            connection, self._ports.ids, now, world_id, "device.unbound", devices, end_user_id
        )
