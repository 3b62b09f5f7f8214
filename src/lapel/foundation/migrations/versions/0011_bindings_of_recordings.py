"""Under which binding of its device a recording was made, so that the next wearer's device cannot reach it."""

from lapel.foundation.migrations import script

revision = "0011"
down_revision = "0010"

# Of recordings from before, those count as made under the present binding that belong to the present wearer
# and came after it began. A device that was bound only once has no other binding, whatever the clocks said.
BINDINGS = """
ALTER TABLE recordings ADD COLUMN binding_generation integer;
UPDATE recordings r SET binding_generation = d.binding_generation
FROM devices d
WHERE d.world_id = r.world_id AND d.id = r.device_id AND d.end_user_id = r.end_user_id
  AND d.deleted_at IS NULL AND (d.binding_generation = 1 OR r.created_at >= d.bound_at);
"""


def upgrade() -> None:
    script(BINDINGS)
