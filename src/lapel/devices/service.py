"""The rules of devices: one per serial number, bound to one end user at a time, one token each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from lapel.devices import events, queries
from lapel.devices.wire import BoundDevice, Device, DevicePage, RefreshedToken
from lapel.end_users.service import hold_active
from lapel.foundation.clock import timestamp, timestamp_or_none
from lapel.foundation.errors import (
    Conflict,
    DeviceAlreadyBound,
    Forbidden,
    InvalidRequest,
    NotFound,
    Unauthorized,
)
from lapel.foundation.pages import page, window
from lapel.foundation.tokens import new_token
from lapel.foundation.wire import metadata_text, raw

if TYPE_CHECKING:
    import asyncpg

    from lapel.devices.wire import BindDevice, CreateDevice, DeviceQuery
    from lapel.foundation.actors import Actor
    from lapel.foundation.database import Connection
    from lapel.foundation.kit import Kit

# `(connection, world id, device ids, now)`, in the unbinding transaction, which holds the devices' rows.
OnUnbind: TypeAlias = Callable[["Connection", int, list[str], datetime], Awaitable[None]]

# A device registered without a model: firmware is offered by model, so none is guessed.
UNKNOWN_MODEL = "unknown"
_NAME_UNITS = 128


class Devices:
    """What can be done with devices."""

    def __init__(self, kit: Kit, *, on_unbind: Sequence[OnUnbind] = ()) -> None:
        """`on_unbind`: what else ends with a binding; run in this order, inside the transaction."""
        self._kit = kit
        self._on_unbind = tuple(on_unbind)

    async def register(self, connection: Connection, actor: Actor, body: CreateDevice) -> tuple[Device, bool]:
        """The device with this serial number, and whether it is new; a known one is left as it is."""
        if body.name is not None and len(body.name.encode("utf-16-le")) // 2 > _NAME_UNITS:
            raise InvalidRequest(f"`name` may have at most {_NAME_UNITS} UTF-16 units.", param="name")
        row = await queries.insert(
            connection,
            actor.world_id,
            self._kit.ids.new("dev"),
            body.serial_number,
            body.model or body.device_type or UNKNOWN_MODEL,
            body.name,
            body.firmware_version,
            metadata_text(body.metadata),
            self._kit.clock.now(),
        )
        if row is not None:
            return _device(row, actor.project_id), True
        row = await queries.read_by_serial(connection, actor.world_id, body.serial_number)
        if row is None:
            raise Conflict("The device with this serial number is being changed. Repeat the request.")
        return _device(row, actor.project_id), False

    async def read(self, actor: Actor, device_id: str) -> Device:
        """One device. Raises NotFound."""
        async with self._kit.database.acquire() as connection:
            row = await queries.read(connection, actor.world_id, device_id, actor.end_user_id)
        if row is None:
            raise _unknown()
        return _device(row, actor.project_id)

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
        data, has_more, next_cursor = page(rows, asked, lambda row: _device(row, actor.project_id))
        return DevicePage(data=data, has_more=has_more, next_cursor=next_cursor)

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
                raise _unknown()
            raise DeviceAlreadyBound("This device is bound. Unbind it first.", resource_id=device_id)
        device = _device(row, actor.project_id)
        token = new_token("dtok")
        await queries.delete_tokens(connection, world_id, [device_id])
        await queries.insert_token(
            connection,
            world_id,
            device_id,
            self._kit.hasher.hash(token),
            device.binding_generation,
            "current",
            now,
        )
        await events.publish(connection, self._kit.ids, now, world_id, "device.bound", device)
        return BoundDevice(**msgspec.structs.asdict(device), device_token=token)

    async def unbind(self, actor: Actor, device_id: str) -> Device:
        """Take a device from its end user and revoke its token; nothing if unbound. Raises NotFound."""
        now, world_id = self._kit.clock.now(), actor.world_id
        async with self._kit.database.transaction() as connection:
            row = await queries.unbind(connection, world_id, device_id, now)
            if row is None:
                row = await queries.read(connection, world_id, device_id, None)
                if row is None:
                    raise _unknown()
                return _device(row, actor.project_id)
            device = _device(row, actor.project_id)
            await self._unbound(connection, world_id, [device], now)
        return device

    async def unbind_all_of(
        self, connection: Connection, world_id: int, end_user_id: str, now: datetime
    ) -> None:
        """What happens to devices when their end user is deleted."""
        rows = await queries.unbind_all(connection, world_id, end_user_id, now)
        await self._unbound(connection, world_id, [_device(row, row["project_id"]) for row in rows], now)

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
                connection, world_id, actor.id, self._kit.hasher.hash(token), generation, "fresh", now
            )
        return RefreshedToken(device_token=token)

    async def _unbound(
        self, connection: Connection, world_id: int, devices: list[Device], now: datetime
    ) -> None:
        device_ids = [device.id for device in devices]
        await queries.delete_tokens(connection, world_id, device_ids)
        for hook in self._on_unbind:
            await hook(connection, world_id, device_ids, now)
        for device in devices:
            await events.publish(connection, self._kit.ids, now, world_id, "device.unbound", device)


def _unknown() -> NotFound:
    return NotFound("There is no device with this id.")


def _device(row: asyncpg.Record, project_id: str) -> Device:
    return Device(
        id=row["id"],
        serial_number=row["serial_number"],
        model=row["model"],
        device_type=row["model"],
        name=row["name"],
        firmware_version=row["firmware_version"],
        status="unbound" if row["end_user_id"] is None else "bound",
        end_user_id=row["end_user_id"],
        binding_generation=row["binding_generation"],
        bound_at=timestamp_or_none(row["bound_at"]),
        battery_percent=row["battery_percent"],
        storage_used_mb=row["storage_used_mb"],
        storage_total_mb=row["storage_total_mb"],
        signal_strength_dbm=row["signal_strength_dbm"],
        last_heartbeat_at=timestamp_or_none(row["last_heartbeat_at"]),
        last_seen_at=timestamp_or_none(row["last_seen_at"]),
        last_synced_at=timestamp_or_none(row["last_synced_at"]),
        recording_state=raw(row["recording_state"]),
        metadata=raw(row["metadata"]),
        settings=raw(row["settings"]),
        project_id=project_id,
        created_at=timestamp(row["created_at"]),
        updated_at=timestamp(row["updated_at"]),
        # Deleting a device removes its row: what is shown is never deleted.
        deleted_at=None,
    )
