"""Offers: assigning a release to a single device, cancelling the assignment, reading the results."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict, InvalidRequest
from lapel.foundation.database import audit
from lapel.slices.devices.service import find_device, lock_device, unknown_device
from lapel.slices.firmware import queries
from lapel.slices.firmware.assignments import assignment_queries, assignment_state_queries, failures
from lapel.slices.firmware.releases import unknown_release
from lapel.slices.firmware.views import assignment_of
from lapel.slices.firmware.wire import Assignments, CurrentAssignment

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.devices.service import DeviceSummary
    from lapel.slices.firmware.rows import ReleaseRow
    from lapel.slices.firmware.wire import Assignment, AssignRelease, HistoryQuery


class Offers:
    """Operations on the updates of single devices.

    Methods that open a connection raise Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def assign(
        self, connection: Connection, actor: Actor, device_id: str, body: AssignRelease
    ) -> Assignment:
        """Offer a release to a device. The offer replaces the device's open offer.

        Raises:

        - NotFound when the device or the release does not exist.
        - InvalidRequest when the release is for another model.
        - Conflict when the release is not released, when the device already runs it, when the update would be
        a
          downgrade that the release does not allow, or when another request makes an offer to the device at
          the same moment.
        """
        now, world_id = self._ports.clock.now(), actor.world_id
        device = await _lock(connection, world_id, device_id)
        release = await queries.read_release(connection, world_id, body.firmware_release_id)
        if release is None:
            raise unknown_release()
        await _check(connection, world_id, device, release)
        await self._make_room(connection, world_id, device_id, now)
        row = await assignment_state_queries.assign(
            connection,
            world_id,
            self._ports.ids.new("ota"),
            device_id,
            body.firmware_release_id,
            now + timedelta(hours=body.deadline_hours),
            now,
        )
        if row is None:
            raise Conflict(
                "Another request offered the device a release at the same moment. Repeat the request."
            )
        about = device.end_user_id
        await audit.note(connection, self._ports.ids, now, actor, "ota.assigned", row.id, about)
        return assignment_of(row)

    async def _make_room(self, connection: Connection, world_id: int, device_id: str, now: datetime) -> None:
        late = await assignment_state_queries.expire_of_device(connection, world_id, device_id, now)
        if late:
            await failures.failed(connection, self._ports.ids, now, late)
        await assignment_state_queries.cancel(
            connection, world_id, [device_id], now, "Another release was assigned."
        )

    async def cancel(self, actor: Actor, device_id: str) -> None:
        """Cancel a device's open offer, if there is one. Raises NotFound when there is no such device."""
        async with self._ports.database.transaction() as connection:
            device = await _lock(connection, actor.world_id, device_id)
            now, about = self._ports.clock.now(), device.end_user_id
            for assignment_id in await assignment_state_queries.cancel(
                connection, actor.world_id, [device_id], now, "The assignment was cancelled."
            ):
                await audit.note(
                    connection, self._ports.ids, now, actor, "ota.cancelled", assignment_id, about
                )

    async def current(self, actor: Actor, device_id: str) -> CurrentAssignment:
        """A device's newest assignment, in any status. Raises NotFound when there is no such device."""
        async with self._ports.database.acquire() as connection:
            await find_device(connection, actor.world_id, device_id, actor.end_user_id)
            row = await assignment_queries.newest(
                connection, actor.world_id, device_id, self._ports.clock.now()
            )
        return CurrentAssignment(data=None if row is None else assignment_of(row))

    async def history(self, actor: Actor, device_id: str, query: HistoryQuery) -> Assignments:
        """A device's assignments, newest first. Raises NotFound when there is no such device."""
        now = self._ports.clock.now()
        async with self._ports.database.acquire() as connection:
            await find_device(connection, actor.world_id, device_id, actor.end_user_id)
            rows = await assignment_queries.history(connection, actor.world_id, device_id, query.limit, now)
        return Assignments(data=[assignment_of(row) for row in rows])


async def _lock(connection: Connection, world_id: int, device_id: str) -> DeviceSummary:
    """A device, which is neither deleted nor unbound until the transaction ends.

    Raises NotFound when there is no such device.
    """
    device = await lock_device(connection, world_id, device_id)
    if device is None:
        raise unknown_device()
    return device


async def _check(connection: Connection, world_id: int, device: DeviceSummary, release: ReleaseRow) -> None:
    """Raises InvalidRequest or Conflict when the release must not be offered to the device."""
    if release.released_at is None:
        raise Conflict("This firmware is not released. Release it first.")
    if release.model != device.model:
        raise InvalidRequest(
            f"This firmware is for {release.model}, and the device is a {device.model}.",
            param="firmware_release_id",
        )
    if device.firmware_version is None:
        return
    if release.version == device.firmware_version:
        raise Conflict(f"The device runs version {device.firmware_version} already.")
    if release.release_sequence is None or release.allow_downgrade:
        return
    runs = await queries.read_sequence(connection, world_id, device.model, device.firmware_version)
    if runs is not None and runs >= release.release_sequence:
        raise Conflict(
            f"The device runs release_sequence {runs}, and this firmware has {release.release_sequence}: "
            "it does not allow a downgrade."
        )
