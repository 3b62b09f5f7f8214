"""What heartbeats show: the connection that a device was heard through, and which commands are done."""

from lapel.foundation.migrations import script

revision = "0016"
down_revision = "0015"

# An app with a project's key reports for a device that it reaches over Bluetooth. Of all else the connection
# was not kept: it is unknown until the next heartbeat or upload.
CONNECTIONS = """
UPDATE devices SET last_seen_by = CASE last_seen_by WHEN 'key' THEN 'ble' END, last_synced_by = NULL
WHERE last_seen_by IS NOT NULL OR last_synced_by IS NOT NULL;
UPDATE devices SET recording_state = recording_state || '{"pending_recordings": 0}'
WHERE recording_state ->> 'pending_recordings' IS NULL AND recording_state IS NOT NULL;
"""

# Executed as a heartbeat showed: its device may still report it itself.
COMMANDS = "ALTER TABLE commands ADD COLUMN inferred boolean NOT NULL DEFAULT false"


def upgrade() -> None:
    script(CONNECTIONS)
    script(COMMANDS)
