"""What devices tell other systems: `device.bound`, `device.unbound`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from lapel.devices.wire import Device, DeviceEvent
from lapel.foundation import outbox

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database import Connection
    from lapel.foundation.ids import Ids


async def publish(
    connection: Connection,
    ids: Ids,
    now: datetime,
    world_id: int,
    type: Literal["device.bound", "device.unbound"],  # noqa: A002 - the contract's word
    device: Device,
) -> None:
    """Write the event of one binding, once: a device is bound and unbound once per generation."""
    await outbox.publish(
        connection,
        ids,
        now,
        world_id=world_id,
        type=type,
        resource_id=device.id,
        data=msgspec.json.encode(DeviceEvent(**msgspec.structs.asdict(device), device=device)),
        dedupe=f"{type}:{device.id}:{device.binding_generation}",
    )
