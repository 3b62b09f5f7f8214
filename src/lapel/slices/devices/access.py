"""Functions with which other slices find a device, or lock it against deletion and changes of its binding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from lapel.foundation.core.errors import NotFound
from lapel.foundation.http.authorization import Access
from lapel.slices.devices import queries

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.slices.devices.rows import DeviceSummary
    from lapel.slices.devices.wire import ConnectionKind

# For operations that a device calls about itself.
OWN_DEVICE = Access(None, frozenset({"device"}))


def device_of_row(row: str, word: Literal["ON", "WHERE"]) -> str:
    """SQL for other slices: joins the device `d` of a row with `world_id` and `device_id`, if not deleted.

    `row`: the alias of the row's table. `word`: `ON` after a `JOIN`, or `WHERE` after the `FROM` of an
    UPDATE.
    """
    return f"devices d {word} d.world_id = {row}.world_id AND d.id = {row}.device_id AND d.deleted_at IS NULL"


async def lock_settings(connection: Connection, world_id: int, device_id: str) -> str:
    """A device's settings, as JSON. Locks the device's row. Raises NotFound when there is no such device."""
    stored = await queries.lock_settings(connection, world_id, device_id)
    if stored is None:
        raise unknown_device()
    return stored


async def find_device(
    connection: Connection, world_id: int, device_id: str, only: str | None = None
) -> DeviceSummary:
    """A device in its present state. `only`: the end user whose devices the caller may see; None: all.

    Raises NotFound when the caller reaches no such device.
    """
    device = await queries.find(connection, world_id, device_id, only)
    if device is None:
        raise unknown_device()
    return device


async def lock_device(connection: Connection, world_id: int, device_id: str) -> DeviceSummary | None:
    """A device, if there is one. It is not deleted, bound or unbound until the transaction ends."""
    return await queries.lock(connection, world_id, device_id)


async def mark_synced(
    connection: Connection,
    world_id: int,
    device_id: str,
    end_user_id: str,
    by: ConnectionKind | None,
    now: datetime,
) -> None:
    """Store the time and the connection of a complete upload of a recording that a device made.

    `end_user_id`: the recording's end user; nothing is stored if another one wears the device by now. `by`:
    the connection; None: unknown. Call this before any lock of a recording.
    """
    await queries.synced(connection, world_id, device_id, end_user_id, by, now)


def unknown_device() -> NotFound:
    """The error for a device that the caller may not see, that does not exist or that is deleted."""
    return NotFound("There is no device with this id.")
