"""All SQL of releases and of what single devices are offered.

Order of locks: the device's row, then its assignments.
"""

from __future__ import annotations

# What a heartbeat needs of the offer that its device has, to be formatted with the expressions of the
# statement that it becomes a part of. Nothing once the deadline passed (it failed then, by the clock), nor
# while its rollout is paused or halted, unless the device has begun already.
OPEN_OFFER = """
SELECT a.world_id, a.id AS assignment_id, a.status, a.firmware_release_id, a.deadline_at,
       f.version, f.model, f.bin_object_key, f.bin_sha256, f.bin_file_size_bytes, f.bin_crc32,
       f.release_sequence, f.allow_downgrade
FROM ota_assignments a
JOIN firmware_releases f ON f.world_id = a.world_id AND f.id = a.firmware_release_id
LEFT JOIN rollouts r ON r.world_id = a.world_id AND r.id = a.rollout_id
WHERE a.world_id = {world_id} AND a.device_id = {device_id}
  AND a.status IN ('pending', 'delivered') AND a.deadline_at > {now}
  AND (a.status = 'delivered' OR r.status IS NULL OR r.status = 'running')
"""
