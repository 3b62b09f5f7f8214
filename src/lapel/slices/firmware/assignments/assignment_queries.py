"""All SQL that reads the assignments of single devices.

An assignment that is pending or delivered counts as `failed` after its deadline, although its row does not
say so yet. Only the sweep, or a new assignment for the device, changes that row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_row, fetch_rows
from lapel.slices.firmware.rows import AssignmentRow

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection

# The error message of an assignment that failed at its deadline.
LATE = """CASE WHEN a.delivered_at IS NULL THEN 'The device was not heard before the deadline.'
    ELSE 'The device did not report version ' || f.version || ' before the deadline.' END"""
ASSIGNMENT = """a.world_id, a.id, a.device_id, a.firmware_release_id, a.rollout_id, a.assigned_at,
    a.delivered_at, a.applied_at"""
# $3 is now.
_SEEN = f"""{ASSIGNMENT},
    CASE WHEN a.status IN ('pending', 'delivered') AND a.deadline_at <= $3 THEN 'failed' ELSE a.status END
        AS status,
    CASE WHEN a.status IN ('pending', 'delivered') AND a.deadline_at <= $3 THEN {LATE}
        ELSE a.error_message END AS error_message"""

# Whether an offer waits for a device. The statement of a heartbeat uses this SQL. `d` is the device, and $3
# the present time.
OFFER_WAITING = """EXISTS (SELECT 1 FROM ota_assignments a
    WHERE a.world_id = d.world_id AND a.device_id = d.id AND a.status IN ('pending', 'delivered')
      AND a.deadline_at > $3)"""

# For WITH in a heartbeat's statement, in which `beat` is the device and $4 the present time. Reads the
# device's open offer. After the deadline there is no row. While the offer's rollout is paused or halted,
# there is a row only if the offer was delivered before.
OFFER_OF_BEAT = """offer AS (
SELECT a.world_id, a.id AS assignment_id, a.status, a.firmware_release_id, a.deadline_at,
       f.version, f.model, f.bin_object_key, f.bin_sha256, f.bin_file_size_bytes, f.bin_crc32,
       f.release_sequence, f.allow_downgrade
FROM beat JOIN ota_assignments a ON a.world_id = beat.world_id AND a.device_id = beat.id
JOIN firmware_releases f ON f.world_id = a.world_id AND f.id = a.firmware_release_id
LEFT JOIN rollouts r ON r.world_id = a.world_id AND r.id = a.rollout_id
WHERE a.status IN ('pending', 'delivered') AND a.deadline_at > $4
  AND (a.status = 'delivered' OR r.status IS NULL OR r.status = 'running')
)"""

NEWEST = f"""
SELECT {_SEEN} FROM ota_assignments a
JOIN firmware_releases f ON f.world_id = a.world_id AND f.id = a.firmware_release_id
WHERE a.world_id = $1 AND a.device_id = $2 ORDER BY a.assigned_at DESC, a.id DESC LIMIT 1
"""

HISTORY = f"""
SELECT {_SEEN} FROM ota_assignments a
JOIN firmware_releases f ON f.world_id = a.world_id AND f.id = a.firmware_release_id
WHERE a.world_id = $1 AND a.device_id = $2 ORDER BY a.assigned_at DESC, a.id DESC LIMIT $4
"""


async def newest(
    connection: Connection, world_id: int, device_id: str, now: datetime
) -> AssignmentRow | None:
    """A device's newest assignment, in any status."""
    return await fetch_row(connection, AssignmentRow, NEWEST, world_id, device_id, now)


async def history(
    connection: Connection, world_id: int, device_id: str, limit: int, now: datetime
) -> list[AssignmentRow]:
    """A device's newest assignments."""
    return await fetch_rows(connection, AssignmentRow, HISTORY, world_id, device_id, now, limit)
