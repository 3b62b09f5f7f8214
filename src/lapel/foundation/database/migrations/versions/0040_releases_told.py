"""A hold whose release the bucket does not have is untold, also if a server of an older release released it."""

from lapel.foundation.database.migrations import build_index, script

revision = "0040"
down_revision = "0039"

# The release that the bucket has. Releases of before are told once more, which changes nothing in the bucket.
TOLD = "ALTER TABLE holds ADD COLUMN IF NOT EXISTS told_released_at timestamptz"


def upgrade() -> None:
    script(TOLD)
    build_index(
        "holds_untold",
        "holds (world_id, id) WHERE NOT is_told OR released_at IS DISTINCT FROM told_released_at",
    )
