"""Facts from heartbeats: the connection of the last heartbeat, and the commands that it shows as executed."""

from lapel.foundation.database.migrations import in_batches, script

revision = "0016"
down_revision = "0015"

# An app with a project's key reports for a device that it reaches over Bluetooth. All other connections were
# not stored: they are unknown until the next heartbeat or upload.
# A row that was already changed stays as it is.
CONNECTIONS = """
UPDATE devices SET last_seen_by = CASE WHEN last_seen_by IN ('key', 'ble') THEN 'ble' END, last_synced_by = NULL
WHERE world_id = $1 AND id > $2 AND id <= $3
  AND (last_seen_by <> 'ble' OR last_synced_by IS NOT NULL)
"""
WAITING = """
UPDATE devices SET recording_state = recording_state || '{"pending_recordings": 0}'
WHERE world_id = $1 AND id > $2 AND id <= $3
  AND recording_state ->> 'pending_recordings' IS NULL AND recording_state IS NOT NULL
"""

# A heartbeat showed that the command was executed; the device may still report it.
COMMANDS = "ALTER TABLE commands ADD COLUMN IF NOT EXISTS inferred boolean NOT NULL DEFAULT false"


def upgrade() -> None:
    script(COMMANDS)
    in_batches("devices", CONNECTIONS)
    in_batches("devices", WAITING)
