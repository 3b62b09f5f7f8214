"""The rules of devices: one device per serial number. tokens/bindings.py binds them to end users."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import msgspec

from lapel.foundation.core.errors import Conflict
from lapel.foundation.database import audit, outbox
from lapel.foundation.database.together import Together
from lapel.foundation.database.turns.world_shares import WORLD
from lapel.foundation.http.input.fields import given, metadata_text, value_of
from lapel.foundation.http.input.pagination import PageQuery, page, window
from lapel.foundation.identity.token_kinds import LookUp
from lapel.slices.devices import events, queries, settings_bodies
from lapel.slices.devices.access import (
    OWN_DEVICE,
    device_of_row,
    find_device,
    lock_device,
    lock_settings,
    mark_synced,
    unknown_device,
)
from lapel.slices.devices.counting import FleetCounts, count
from lapel.slices.devices.errors import DeviceAlreadyBound
from lapel.slices.devices.queries import COUNT_DEVICES, client_context
from lapel.slices.devices.reports.report_queries import (
    LOCKED_BEAT,
    OF_KEY,
    OF_SEVERAL,
    OF_TOKEN,
    SEVERAL,
    STORED,
    begin_low_battery,
    begin_offline,
    find_silent,
    forget_reports,
    store_active,
    store_idle,
)
from lapel.slices.devices.tokens.bindings import DeviceBindings, Hook
from lapel.slices.devices.tokens.lookup_queries import DEVICE_TOKEN
from lapel.slices.devices.views import ONLINE_FOR, device_of, seen_by, settings_of, state_of
from lapel.slices.devices.wire import DevicePage, DeviceQuery, DeviceStats

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.devices.rows import DeviceSummary, StateRow
    from lapel.slices.devices.wire import (
        ConnectionKind,
        CreateDevice,
        Device,
        DeviceState,
        OlderSettings,
        SettingsBody,
        UpdateDevice,
    )

__all__ = [
    "COUNT_DEVICES",
    "LOCKED_BEAT",
    "OF_KEY",
    "OF_SEVERAL",
    "OF_TOKEN",
    "ONLINE_FOR",
    "OWN_DEVICE",
    "SEVERAL",
    "STORED",
    "ConnectionKind",
    "DeviceBindings",
    "DeviceQuery",
    "DeviceSummary",
    "Devices",
    "begin_low_battery",
    "begin_offline",
    "client_context",
    "device_of_row",
    "find_device",
    "find_silent",
    "forget_reports",
    "lock_device",
    "mark_synced",
    "store_active",
    "store_idle",
    "unknown_device",
]

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
        self._reads = Together(ports.database, queries.read)
        self._holders = Together(ports.database, DEVICE_TOKEN.find)
        # Hooks of other slices, called inside the transaction of the deletion. app.py adds them.
        self.on_delete: Final[list[Hook]] = []

    async def begin_use(self, token_hash: bytes) -> bool:
        """Count what follows for the world of the device that has this token; False if no device has it.

        Waits for the device's row at the first use of a fresh token, which becomes current.
        """
        found = await self._holders.ask(LookUp([token_hash], self._ports.clock.now()))
        if found is None:
            return False
        WORLD.set(found.actor.world_id)
        await found.begin_use(self._ports.database)
        return True

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

    async def settings(self, actor: Actor, device_id: str) -> OlderSettings:
        """A device's settings in the older form. Raises NotFound when the caller reaches no such device."""
        return settings_of(await self._row(actor, device_id))

    async def _row(self, actor: Actor, device_id: str) -> StateRow:
        row = await self._reads.ask((actor.world_id, device_id, actor.end_user_id))
        if row is None:
            raise unknown_device()
        return seen_by(row, actor.end_user_id)

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
        data, has_more, next_cursor = page(
            rows, asked, lambda row: device_of(seen_by(row, own), actor.project_id)
        )
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
        data, _, _ = page(rows, newest, lambda row: device_of(seen_by(row, own), actor.project_id))
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
    ) -> OlderSettings:
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
        episodes = [(device_of(seen_by(row, row.end_user_id), project_id), began[row.id]) for row in rows]
        await events.publish_episodes(connection, self._ports.ids, now, world_id, type, episodes)

    async def _note(
        self, connection: Connection, actor: Actor, action: str, device_id: str, end_user_id: str | None
    ) -> None:
        ids, now = self._ports.ids, self._ports.clock.now()
        await audit.note(connection, ids, now, actor, action, device_id, end_user_id)
