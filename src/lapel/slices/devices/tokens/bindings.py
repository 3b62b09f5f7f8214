"""The binding of devices: each to one end user at a time, with one token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from lapel.foundation.core.errors import Forbidden, Unauthorized
from lapel.foundation.database import audit
from lapel.foundation.identity.tokens import new_token
from lapel.slices.devices import events, queries
from lapel.slices.devices.access import unknown_device
from lapel.slices.devices.errors import DeviceAlreadyBound
from lapel.slices.devices.tokens import lookup_queries, token_queries
from lapel.slices.devices.views import device_of, reported_since, seen_by
from lapel.slices.devices.wire import BoundDevice, RefreshedToken
from lapel.slices.end_users.service import lock_active_end_user

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.devices.wire import BindDevice, Device

# `(connection, world id, device ids, now)`, called in the transaction that binds, unbinds or deletes the
# devices. The transaction has locked the devices' rows already, so a hook locks its own rows after them.
Hook: TypeAlias = Callable[["Connection", int, list[str], datetime], Awaitable[None]]


class DeviceBindings:
    """Operations on bindings. Methods that open a connection raise Unavailable while the database fails."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        # Hooks of other slices, called inside the transaction of the change. app.py adds them.
        self.on_bind: Final[list[Hook]] = []
        self.on_unbind: Final[list[Hook]] = []

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
            if await queries.read_one(connection, world_id, device_id, None) is None:
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
        told = device_of(seen_by(row, row.end_user_id), actor.project_id)
        await events.publish_bindings(
            connection, self._ports.ids, now, world_id, "device.bound", [told], told.end_user_id
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
                return unbound[0]
            row = await queries.read_one(connection, world_id, device_id, actor.end_user_id)
        if row is None:
            raise unknown_device()
        return device_of(row, project_id)

    async def unbind_in(
        self, connection: Connection, world_id: int, project_id: str, device_id: str, now: datetime
    ) -> tuple[Device, str | None] | None:
        """`unbind` in the caller's transaction: the device, and its end user until now; None if not bound."""
        binding = await queries.lock_binding(connection, world_id, device_id)
        row = await queries.unbind(connection, world_id, device_id, now)
        if binding is None or row is None:
            return None
        told = device_of(reported_since(row, binding.bound_at), project_id)
        await self._unbound(connection, world_id, [told], now, binding.end_user_id)
        return device_of(row, project_id), binding.end_user_id

    async def unbind_all_of(
        self, connection: Connection, world_id: int, end_user_id: str, now: datetime
    ) -> None:
        """Unbind the devices of an end user that is being deleted."""
        rows = await queries.unbind_all(connection, world_id, end_user_id, now)
        devices = [device_of(reported_since(row, row.began), row.project_id) for row in rows]
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
