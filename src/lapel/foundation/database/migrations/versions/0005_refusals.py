"""The time at which an upload was refused: a repeat with the same facts gets the same refusal."""

from lapel.foundation.database.migrations import script

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    script("ALTER TABLE upload_attempts ADD COLUMN refused_at timestamptz;")
