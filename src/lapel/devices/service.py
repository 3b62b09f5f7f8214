"""The rules of devices: one per serial number, bound to one end user at a time, one token each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from lapel.devices import events, queries
from lapel.devices import settings as device_settings
from lapel.devices.counting import LOW_BATTERY_PERCENT, FleetCounts, count
from lapel.devices.views import ONLINE_FOR, device_of, settings_of, state_of
from lapel.devices.wire import BoundDevice, DevicePage, DeviceStats, RefreshedToken
from lapel.end_users.service import hold_active
from lapel.foundation import outbox
from lapel.foundation.errors import (
    Conflict,
    DeviceAlreadyBound,
    Forbidden,
    NotFound,
    Unauthorized,
)
from lapel.foundation.pages import PageQuery, page, window
from lapel.foundation.tokens import new_token
from lapel.foundation.wire import given, metadata_text, value_of

if TYPE_CHECKING:
    import asyncpg

    from lapel.devices.wire import (
        BindDevice,
        CreateDevice,
        Device,
        DeviceQuery,
        DeviceSettings,
        DeviceState,
        SettingsBody,
        UpdateDevice,
    )
    from lapel.foundation.actors import Actor
    from lapel.foundation.database import Connection
    from lapel.foundation.kit import Kit

__all__ = ["LOW_BATTERY_PERCENT", "ONLINE_FOR", "Devices", "HeldDevice", "Hook", "hold_device", "mark_synced"]

# `(connection, world id, device ids, now)`, in the transaction that binds, unbinds or deletes the devices,
# which holds their rows: what a hook locks comes after them.
Hook: TypeAlias = Callable[["Connection", int, list[str], datetime], Awaitable[None]]

# A device registered without a model: firmware is offered by model, so none is guessed.
UNKNOWN_MODEL = "unknown"
# How many devices come with the fleet's numbers.
_STATS_DEVICES = 100
# The device of a serial number may be deleted between the refusal and the look at it.
_TRIES = 3


@dataclass(frozen=True, slots=True)
class HeldDevice:
    """What the other slices need to know of a device."""

    id: str
    serial_number: str
    model: str
    firmware_version: str | None
    end_user_id: str | None
    binding_generation: int


async def hold_device(
    connection: Connection, world_id: int, device_id: str, only: str | None = None
) -> HeldDevice:
    """Keep a device from being deleted until the transaction ends. Raises NotFound.

    Whatever is tied to a device calls this first, in the transaction that ties it: the deletion
    then waits, and finds it. Heartbeats, binding and the like go on meanwhile. `only`: the end
    user whose devices the caller may see.
    """
    row = await queries.hold_active(connection, world_id, device_id, only)
    if row is None:
        raise unknown()
    return HeldDevice(device_id, *row.values())


async def mark_synced(
    connection: Connection, world_id: int, device_id: str, by: str | None, now: datetime
) -> None:
    """An upload of this device is complete; `by`: its connection, None if unknown. Lock recordings after."""
    await queries.synced(connection, world_id, device_id, by, now)


def unknown() -> NotFound:
    """What every caller hears of a device that is not theirs, not there, or gone."""
    return NotFound("There is no device with this id.")


class Devices:
    """What can be done with devices."""

    def __init__(
        self,
        kit: Kit,
        *,
        on_bind: Sequence[Hook] = (),
        on_unbind: Sequence[Hook] = (),
        on_delete: Sequence[Hook] = (),
    ) -> None:
        """What else a binding begins or ends, and what goes with a device; run inside the transaction."""
        self._kit = kit
        self._counts = FleetCounts(kit.database)
        self._on_bind = tuple(on_bind)
        self._on_unbind = tuple(on_unbind)
        self._on_delete = tuple(on_delete)

    async def register(self, connection: Connection, actor: Actor, body: CreateDevice) -> tuple[Device, bool]:
        """The device with this serial number, and whether it is new; a known one is left as it is."""
        metadata = metadata_text(body.metadata)
        for _ in range(_TRIES):
            row = await queries.insert(
                connection,
                actor.world_id,
                self._kit.ids.new("dev"),
                body.serial_number,
                body.model or body.device_type or UNKNOWN_MODEL,
                body.name,
                body.firmware_version,
                metadata,
                self._kit.clock.now(),
            )
            if row is not None:
                return device_of(row, actor.project_id), True
            row = await queries.read_by_serial(connection, actor.world_id, body.serial_number)
            if row is not None:
                return device_of(row, actor.project_id), False
        raise Conflict("The device with this serial number is being changed. Repeat the request.")

    async def replayed(self, actor: Actor, stored: Device) -> Device:
        """The answer of before; a device deleted since then is gone from here too. Raises NotFound."""
        await self.read(actor, stored.id)
        return stored

    async def read(self, actor: Actor, device_id: str) -> Device:
        """One device. Raises NotFound."""
        return device_of(await self._row(actor, device_id), actor.project_id)

    async def state(self, actor: Actor, device_id: str) -> DeviceState:
        """What is known of it just now. Raises NotFound."""
        return state_of(await self._row(actor, device_id), self._kit.clock.now())

    async def settings(self, actor: Actor, device_id: str) -> DeviceSettings:
        """Its settings in the older form. Raises NotFound."""
        return settings_of(await self._row(actor, device_id))

    async def _row(self, actor: Actor, device_id: str) -> asyncpg.Record:
        async with self._kit.database.acquire() as connection:
            row = await queries.read(connection, actor.world_id, device_id, actor.end_user_id)
        if row is None:
            raise unknown()
        return row

    async def list(self, actor: Actor, query: DeviceQuery) -> DevicePage:
        """Newest first."""
        asked = window(query, "devices")
        own, wanted = actor.end_user_id, query.end_user_id
        end_user_id = wanted if own is None else own
        if (wanted is not None and wanted != end_user_id) or (
            end_user_id is not None and query.status == "unbound"
        ):
            return DevicePage(data=[], has_more=False, next_cursor=None)
        bound = None if query.status is None else query.status == "bound"
        async with self._kit.database.acquire() as connection:
            rows = await queries.list_page(connection, actor.world_id, asked, end_user_id, bound)
        data, has_more, next_cursor = page(rows, asked, lambda row: device_of(row, actor.project_id))
        return DevicePage(data=data, has_more=has_more, next_cursor=next_cursor)

    async def stats(self, actor: Actor) -> DeviceStats:
        """The fleet in numbers, and its newest devices."""
        own, now = actor.end_user_id, self._kit.clock.now()
        newest = window(PageQuery(limit=_STATS_DEVICES), "devices")
        counts = await self._counts.of_world(actor.world_id, now) if own is None else None
        async with self._kit.database.acquire() as connection:
            if counts is None:
                counts = await count(connection, actor.world_id, now, own)
            rows = await queries.list_page(connection, actor.world_id, newest, own, None)
        data, _, _ = page(rows, newest, lambda row: device_of(row, actor.project_id))
        return DeviceStats(**counts, data=data)

    async def update(self, actor: Actor, device_id: str, body: UpdateDevice) -> Device:
        """Change what is given. Raises NotFound, InvalidRequest."""
        if all(getattr(body, name) is msgspec.UNSET for name in body.__struct_fields__):
            return await self.read(actor, device_id)
        metadata = (body.metadata is not msgspec.UNSET, metadata_text(value_of(body.metadata)))
        change = device_settings.change_of(value_of(body.settings))
        world_id = actor.world_id
        async with self._kit.database.transaction() as connection:
            settings = (False, device_settings.NOTHING)
            if body.settings is not msgspec.UNSET:
                settings = (True, await _merged(connection, world_id, device_id, change))
            row = await queries.update(
                connection,
                world_id,
                device_id,
                self._kit.clock.now(),
                name=given(body.name),
                firmware_version=given(body.firmware_version),
                metadata=metadata,
                settings=settings,
            )
        if row is None:
            raise unknown()
        return device_of(row, actor.project_id)

    async def change_settings(
        self, actor: Actor, device_id: str, body: SettingsBody, *, reset: bool
    ) -> DeviceSettings:
        """Merge into the settings, or (`reset`) put these in their place. Raises NotFound, InvalidRequest."""
        change, world_id, now = device_settings.body_change(body), actor.world_id, self._kit.clock.now()
        async with self._kit.database.transaction() as connection:
            if reset:
                settings = device_settings.merged(device_settings.NOTHING, change)
            else:
                settings = await _merged(connection, world_id, device_id, change)
            row = await queries.update(connection, world_id, device_id, now, settings=(True, settings))
        if row is None:
            raise unknown()
        return settings_of(row)

    async def delete(self, actor: Actor, device_id: str) -> None:
        """Forget an unbound device and what is tied to it; its recordings stay.

        Raises NotFound, DeviceAlreadyBound.
        """
        now, world_id = self._kit.clock.now(), actor.world_id
        async with self._kit.database.transaction() as connection:
            held = await queries.hold_to_delete(connection, world_id, device_id)
            if held is None:
                raise unknown()
            if held["end_user_id"] is not None:
                raise DeviceAlreadyBound("This device is bound. Unbind it first.", resource_id=device_id)
            for hook in self._on_delete:
                await hook(connection, world_id, [device_id], now)
            await outbox.erase(connection, world_id, [device_id])
            await queries.delete(connection, world_id, device_id, now)

    async def bind(
        self, connection: Connection, actor: Actor, device_id: str, body: BindDevice
    ) -> BoundDevice:
        """Give a device to an end user. Raises NotFound, DeviceAlreadyBound.

        Also to the same end user: the answer holds a token, and a second one would end the
        first, which works. Who lost the answer repeats it with its Idempotency-Key, or unbinds.
        """
        now, world_id = self._kit.clock.now(), actor.world_id
        await hold_active(connection, world_id, body.end_user_id)
        row = await queries.bind(connection, world_id, device_id, body.end_user_id, body.pk_d, now)
        if row is None:
            if await queries.read(connection, world_id, device_id, None) is None:
                raise unknown()
            raise DeviceAlreadyBound("This device is bound. Unbind it first.", resource_id=device_id)
        device = device_of(row, actor.project_id)
        token = new_token("dtok")
        await queries.delete_tokens(connection, world_id, [device_id])
        await queries.insert_token(
            connection,
            world_id,
            device_id,
            self._kit.hasher.hash(token),
            self._kit.hasher.secret_id,
            device.binding_generation,
            "current",
            now,
        )
        await events.publish_bindings(
            connection, self._kit.ids, now, world_id, "device.bound", [device], device.end_user_id
        )
        for hook in self._on_bind:
            await hook(connection, world_id, [device_id], now)
        return BoundDevice(**msgspec.structs.asdict(device), device_token=token)

    async def unbind(self, actor: Actor, device_id: str) -> Device:
        """Take a device from its end user and revoke its token; nothing if unbound. Raises NotFound."""
        now, world_id, project_id = self._kit.clock.now(), actor.world_id, actor.project_id
        async with self._kit.database.transaction() as connection:
            device = await self.unbind_in(connection, world_id, project_id, device_id, now)
            if device is not None:
                return device
            row = await queries.read(connection, world_id, device_id, None)
        if row is None:
            raise unknown()
        return device_of(row, project_id)

    async def unbind_in(
        self, connection: Connection, world_id: int, project_id: str, device_id: str, now: datetime
    ) -> Device | None:
        """The same in a caller's transaction; None for a device that is not bound, or not there."""
        wearer = await queries.hold_wearer(connection, world_id, device_id)
        row = await queries.unbind(connection, world_id, device_id, now)
        if row is None:
            return None
        device = device_of(row, project_id)
        await self._unbound(connection, world_id, [device], now, wearer)
        return device

    async def unbind_all_of(
        self, connection: Connection, world_id: int, end_user_id: str, now: datetime
    ) -> None:
        """What happens to devices when their end user is deleted: names that they were given meanwhile go."""
        await queries.forget_names(connection, world_id, end_user_id, now)
        rows = await queries.unbind_all(connection, world_id, end_user_id, now)
        devices = [device_of(row, row["project_id"]) for row in rows]
        await self._unbound(connection, world_id, devices, now, None)

    async def refresh_token(self, actor: Actor, device_id: str) -> RefreshedToken:
        """The next token of the calling device. Raises Forbidden, Unauthorized.

        The token called with may from now on only ask again (a lost answer), and goes when the
        new one is first used; asking again replaces a new one that was never used.
        """
        if device_id not in ("me", actor.id):
            raise Forbidden("A device may refresh its own token only.")
        now, world_id, caller = self._kit.clock.now(), actor.world_id, actor.token_hash
        token = new_token("dtok")
        async with self._kit.database.transaction() as connection:
            generation = await queries.hold(connection, world_id, actor.id)
            # Between authentication and here the device may have been unbound, or its new token used.
            if generation is None or not await queries.token_lives(connection, world_id, actor.id, caller):
                raise Unauthorized("This device token was revoked or replaced.")
            await queries.delete_other_tokens(connection, world_id, actor.id, caller)
            await queries.keep_for_refresh(connection, world_id, actor.id, caller)
            await queries.insert_token(
                connection, world_id, actor.id, self._kit.hasher.hash(token), self._kit.hasher.secret_id,
                generation, "fresh", now,
            )  # fmt: skip
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
        """Write an event of each device as it is now, once per episode; `began` says when each one's did."""
        rows = await queries.read_many(connection, world_id, list(began))
        episodes = [(device_of(row, project_id), began[row["id"]]) for row in rows]
        await events.publish_episodes(connection, self._kit.ids, now, world_id, type, episodes)

    async def _unbound(
        self,
        connection: Connection,
        world_id: int,
        devices: list[Device],
        now: datetime,
        wearer: str | None,
    ) -> None:
        device_ids = [device.id for device in devices]
        if not device_ids:
            return
        await queries.delete_tokens(connection, world_id, device_ids)
        for hook in self._on_unbind:
            await hook(connection, world_id, device_ids, now)
        await events.publish_bindings(
            connection, self._kit.ids, now, world_id, "device.unbound", devices, wearer
        )


async def _merged(
    connection: Connection, world_id: int, device_id: str, change: device_settings.Change
) -> str:
    """The device's settings after a change, its row held. Raises NotFound, InvalidRequest."""
    stored = await queries.hold_settings(connection, world_id, device_id)
    if stored is None:
        raise unknown()
    return device_settings.merged(stored, change)
