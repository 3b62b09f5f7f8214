"""Whom an event tells of, and for whom a device was named, so that both go with the end user."""

from lapel.foundation.migrations import script

revision = "0013"
down_revision = "0012"

EVENTS = """
ALTER TABLE events ADD COLUMN end_user_id text COLLATE "C";
UPDATE events SET end_user_id = convert_from(body, 'UTF8')::jsonb -> 'data' ->> 'end_user_id'
WHERE type LIKE 'device.%';
CREATE INDEX events_of_end_user ON events (world_id, end_user_id) WHERE end_user_id IS NOT NULL;
"""

# An unbound device was named for nobody who is known.
NAMES = """
ALTER TABLE devices ADD COLUMN named_for text COLLATE "C";
UPDATE devices SET named_for = end_user_id WHERE name IS NOT NULL AND end_user_id IS NOT NULL;
CREATE INDEX devices_named_for ON devices (world_id, named_for) WHERE named_for IS NOT NULL;
"""

# Events of end users who were deleted before; what else of them is left.
LEFT = """
DELETE FROM events v USING end_users e
WHERE e.world_id = v.world_id AND e.id = v.end_user_id AND e.deleted_at IS NOT NULL;
UPDATE audit_log a SET resource_id = NULL FROM end_users e
WHERE e.world_id = a.world_id AND e.id = a.resource_id AND e.deleted_at IS NOT NULL;
UPDATE api_keys k SET end_user_id = NULL, name = NULL FROM end_users e
WHERE e.world_id = k.world_id AND e.id = k.end_user_id AND e.deleted_at IS NOT NULL AND k.revoked_at IS NOT NULL;
UPDATE idempotency_keys i SET end_user_id = NULL FROM end_users e
WHERE e.world_id = i.world_id AND e.id = i.end_user_id AND e.deleted_at IS NOT NULL AND i.sealed_body = '';
"""


def upgrade() -> None:
    for block in (EVENTS, NAMES, LEFT):
        script(block)
