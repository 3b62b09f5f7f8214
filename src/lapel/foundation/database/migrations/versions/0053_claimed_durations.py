"""The duration that a client claimed stays beside a measured one that differs."""

from lapel.foundation.database.migrations import script

revision = "0053"
down_revision = "0052"

COLUMNS = """
-- Milliseconds. Set if the measured duration, which is then in duration_ms, differs from what the client declared.
ALTER TABLE recordings ADD COLUMN claimed_duration_ms bigint;
ALTER TABLE media ADD COLUMN claimed_duration_ms bigint;
"""


def upgrade() -> None:
    script(COLUMNS)
