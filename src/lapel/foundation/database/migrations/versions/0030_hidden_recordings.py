"""Deleted recordings that a legal hold keeps: their rows stay, hidden, until the hold is released."""

from lapel.foundation.database.migrations import build_index, script

revision = "0030"
down_revision = "0029"

HIDDEN = """
-- Set if the recording is deleted, but a hold keeps its rows and objects.
ALTER TABLE recordings ADD COLUMN IF NOT EXISTS deleted_at timestamptz;
-- When the last hold of a `held` entry was released.
ALTER TABLE erasures ADD COLUMN IF NOT EXISTS released_at timestamptz;
ALTER TABLE erasures DROP CONSTRAINT IF EXISTS erasures_state_check;
ALTER TABLE erasures ADD CONSTRAINT erasures_state_check
    CHECK (state IN ('open', 'held', 'erased', 'closed')) NOT VALID;
"""

# A device may announce a recording again after its deletion, also while the deleted one is hidden.
ONE_OF_UUID = """recordings (world_id, device_id, recording_uuid, recording_generation) NULLS NOT DISTINCT
    WHERE device_id IS NOT NULL AND recording_uuid IS NOT NULL AND deleted_at IS NULL"""


def upgrade() -> None:
    script(HIDDEN)
    script("ALTER TABLE erasures VALIDATE CONSTRAINT erasures_state_check")
    build_index("recordings_device_uuid", ONE_OF_UUID, unique=True)
    build_index("recordings_hidden", "recordings (world_id, end_user_id, id) WHERE deleted_at IS NOT NULL")
