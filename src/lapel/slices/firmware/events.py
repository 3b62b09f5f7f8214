"""The events of devices' updates: `ota.applied`, `ota.failed`."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Literal

import msgspec

from lapel.foundation.database import outbox
from lapel.slices.firmware.views import assignment_of
from lapel.slices.firmware.wire import AssignmentEvent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.connection import Connection
    from lapel.slices.firmware.rows import EndedRow


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
