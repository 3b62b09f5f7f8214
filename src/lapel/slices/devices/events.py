"""The events of devices: `device.bound`, `.unbound`, `.low_battery`, `.offline`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from lapel.foundation.core.clock import timestamp
from lapel.foundation.database import outbox
from lapel.slices.devices.wire import Device, DeviceEvent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.connection import Connection


async def publish_bindings(
    connection: Connection,
    ids: Ids,
    now: datetime,
    world_id: int,
    type: Literal["device.bound", "device.unbound"],  # noqa: A002 - the contract's word
    devices: Sequence[Device],
    end_user_id: str | None,
) -> None:
    """Write one event for each device. A repeat writes none, because a generation begins and ends once.

    `end_user_id`: the bound end user. The events are erased together with this end user. None when the end
    user is being deleted.
    """
    await outbox.publish_many(
        connection,
        ids,
        now,
        world_id=world_id,
        type=type,
        resources=[(device.id, _data(device)) for device in devices],
        dedupes=[f"{type}:{device.id}:{device.binding_generation}" for device in devices],
        end_user_ids=[end_user_id] * len(devices),
    )


async def publish_episodes(
    connection: Connection,
    ids: Ids,
    now: datetime,
    world_id: int,
    type: Literal["device.low_battery", "device.offline"],  # noqa: A002 - the contract's word
    episodes: Sequence[tuple[Device, datetime]],
) -> None:
    """Write one event for each episode. A repeat writes none: device and start identify the episode."""
    await outbox.publish_many(
        connection,
        ids,
        now,
        world_id=world_id,
        type=type,
        resources=[(device.id, _data(device)) for device, _ in episodes],
        dedupes=[f"{type}:{device.id}:{timestamp(began)}" for device, began in episodes],
        end_user_ids=[device.end_user_id for device, _ in episodes],
    )


def _data(device: Device) -> bytes:
    return msgspec.json.encode(DeviceEvent(**msgspec.structs.asdict(device), device=device))
