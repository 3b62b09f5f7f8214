"""The end user of an event and of a device's name, so that both are deleted with the end user."""

from lapel.foundation.database.migrations import build_index, in_batches, script

revision = "0013"
down_revision = "0012"

COLUMNS = """
ALTER TABLE events ADD COLUMN IF NOT EXISTS end_user_id text COLLATE "C";
ALTER TABLE devices ADD COLUMN IF NOT EXISTS named_for text COLLATE "C";
"""

EVENTS = """
UPDATE events SET end_user_id = convert_from(body, 'UTF8')::jsonb -> 'data' ->> 'end_user_id'
WHERE world_id = $1 AND id > $2 AND id <= $3
  AND type LIKE 'device.%' AND end_user_id IS NULL
"""

# The end user for whom an unbound device was named is unknown.
NAMES = """
UPDATE devices SET named_for = end_user_id
WHERE world_id = $1 AND id > $2 AND id <= $3
  AND name IS NOT NULL AND end_user_id IS NOT NULL
"""

# Events of end users who were deleted earlier, and their other remains.
LEFT = (
    """
DELETE FROM events v USING end_users e
WHERE e.world_id = $1 AND e.id > $2 AND e.id <= $3 AND e.deleted_at IS NOT NULL
  AND v.world_id = e.world_id AND v.end_user_id = e.id
""",
    """
UPDATE audit_log a SET resource_id = NULL FROM end_users e
WHERE e.world_id = $1 AND e.id > $2 AND e.id <= $3 AND e.deleted_at IS NOT NULL
  AND a.world_id = e.world_id AND a.resource_id = e.id
""",
    """
UPDATE api_keys k SET end_user_id = NULL, name = NULL FROM end_users e
WHERE e.world_id = $1 AND e.id > $2 AND e.id <= $3 AND e.deleted_at IS NOT NULL
  AND k.world_id = e.world_id AND k.end_user_id = e.id AND k.revoked_at IS NOT NULL
""",
    """
UPDATE idempotency_keys i SET end_user_id = NULL FROM end_users e
WHERE e.world_id = $1 AND e.id > $2 AND e.id <= $3 AND e.deleted_at IS NOT NULL
  AND i.world_id = e.world_id AND i.end_user_id = e.id AND i.sealed_body = ''
""",
)


def upgrade() -> None:
    script(COLUMNS)
    in_batches("events", EVENTS)
    build_index("events_of_end_user", "events (world_id, end_user_id) WHERE end_user_id IS NOT NULL")
    in_batches("devices", NAMES)
    build_index("devices_named_for", "devices (world_id, named_for) WHERE named_for IS NOT NULL")
    for statement in LEFT:
        in_batches("end_users", statement)
