"""Holds whose line in the bucket is not written yet, so that a restored database gets its holds back."""

from lapel.foundation.database.migrations import build_index, script

revision = "0037"
down_revision = "0036"

# False as long as the bucket does not have the hold, or its release.
TOLD = "ALTER TABLE holds ADD COLUMN IF NOT EXISTS is_told boolean NOT NULL DEFAULT false"


def upgrade() -> None:
    script(TOLD)
    build_index("holds_untold", "holds (world_id, id) WHERE NOT is_told")
