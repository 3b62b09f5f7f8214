"""The device's binding under which a recording was made; later bindings cannot reach the recording."""

from lapel.foundation.database.migrations import in_batches, script

revision = "0011"
down_revision = "0010"

# An older recording counts as made under the present binding if it belongs to the present end user and is
# younger than the binding. If the device was bound only once, the times are not compared, because there is no
# other binding.
BINDINGS = """
UPDATE recordings r SET binding_generation = d.binding_generation
FROM devices d
WHERE r.world_id = $1 AND r.id > $2 AND r.id <= $3 AND r.binding_generation IS NULL
  AND d.world_id = r.world_id AND d.id = r.device_id AND d.end_user_id = r.end_user_id
  AND d.deleted_at IS NULL AND (d.binding_generation = 1 OR r.created_at >= d.bound_at)
"""


def upgrade() -> None:
    script("ALTER TABLE recordings ADD COLUMN IF NOT EXISTS binding_generation integer")
    in_batches("recordings", BINDINGS)
