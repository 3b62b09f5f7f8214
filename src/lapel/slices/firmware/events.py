"""The events of devices' updates: `ota.applied`, `ota.failed`."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec

from lapel.foundation.database import outbox
from lapel.slices.firmware.rows import EndedRow
from lapel.slices.firmware.views import assignment_of
from lapel.slices.firmware.wire import AssignmentEvent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.connection import Connection


async def publish(
    connection: Connection,
    ids: Ids,
    now: datetime,
    type: Literal["ota.applied", "ota.failed"],  # noqa: A002 - the contract's word
    rows: Sequence[EndedRow],
) -> None:
    """Write one event for each ended assignment. The assignments may be of several worlds; each ends once."""
    by_world: defaultdict[int, list[tuple[str, bytes]]] = defaultdict(list)
    for row in rows:
        by_world[row.world_id].append((row.id, msgspec.json.encode(_body(row))))
    for world_id, resources in by_world.items():
        await outbox.publish_many(connection, ids, now, world_id=world_id, type=type, resources=resources)


def _body(row: EndedRow) -> AssignmentEvent:
    assignment = assignment_of(row)
    return AssignmentEvent(
        **msgspec.structs.asdict(assignment),
        version=row.version,
        model=row.model,
        project_id=row.project_id,
        assignment=assignment,
    )


def _sample(ids: Ids, now: datetime, project_id: str, *, applied: bool) -> outbox.EventSample:
    delivered_at = now - timedelta(minutes=5)
    row = EndedRow(
        world_id=0,
        id=ids.new("ota"),
        device_id=ids.new("dev"),
        firmware_release_id=ids.new("fw"),
        rollout_id=None,
        assigned_at=now - timedelta(hours=1),
        delivered_at=delivered_at,
        applied_at=now if applied else None,
        status="applied" if applied else "failed",
        error_message=None if applied else "The device did not apply the update before its deadline.",
        version="1.5.0",
        model="bota_pin_4g",
        project_id=project_id,
    )
    return outbox.EventSample(row.id, msgspec.json.encode(_body(row)))


SAMPLES: Mapping[str, outbox.SampleMaker] = {
    "ota.applied": partial(_sample, applied=True),
    "ota.failed": partial(_sample, applied=False),
}
