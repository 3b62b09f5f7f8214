"""The events of devices: `device.bound`, `.unbound`, `.low_battery`, `.offline`.

An export has the events that are about its end user. So an event shows what the device reported in that end
user's binding, and nothing of an earlier wearer: `views.seen_by`.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec

from lapel.foundation.core.clock import timestamp
from lapel.foundation.database import outbox
from lapel.slices.devices.rows import DeviceRow
from lapel.slices.devices.views import device_of
from lapel.slices.devices.wire import Device, DeviceEvent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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


def _sample(
    ids: Ids,
    now: datetime,
    project_id: str,
    *,
    bound: bool = True,
    battery_percent: int = 80,
    silent: timedelta = timedelta(seconds=20),
) -> outbox.EventSample:
    """`silent`: the time since the device's last heartbeat."""
    seen = now - silent
    row = DeviceRow(
        id=ids.new("dev"),
        serial_number="SAMPLE0001",
        model="bota_pin_4g",
        name="Sample",
        firmware_version="1.4.2",
        end_user_id=ids.new("eu") if bound else None,
        binding_generation=1,
        bound_at=now - timedelta(days=1) if bound else None,
        battery_percent=battery_percent,
        storage_used_mb=512,
        storage_total_mb=8192,
        signal_strength_dbm=-70,
        last_heartbeat_at=seen,
        last_seen_at=seen,
        last_synced_at=None,
        recording_state=None,
        metadata="{}",
        settings="{}",
        created_at=now - timedelta(days=2),
        updated_at=seen,
    )
    device = device_of(row, project_id)
    return outbox.EventSample(device.id, _data(device))


SAMPLES: Mapping[str, outbox.SampleMaker] = {
    "device.bound": _sample,
    "device.unbound": partial(_sample, bound=False),
    "device.low_battery": partial(_sample, battery_percent=9),
    "device.offline": partial(_sample, silent=timedelta(minutes=16)),
}
