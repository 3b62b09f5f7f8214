"""Each charge with the death of a worker has a name, so that only a charge that was written is taken back."""

from lapel.foundation.database.migrations import script

revision = "0065"
down_revision = "0064"
serves_older = True

COLUMNS = """
-- The names of the charges: one for each worker that died while it was at the work, and for the one that is at it.
-- Servers of the version before count their charges in `starts` instead.
ALTER TABLE speech_work ADD COLUMN charges text[] NOT NULL DEFAULT '{}';
ALTER TABLE summary_work ADD COLUMN charges text[] NOT NULL DEFAULT '{}';
ALTER TABLE job_starts ADD COLUMN charges text[] NOT NULL DEFAULT '{}', ALTER COLUMN starts SET DEFAULT 0;
"""


def upgrade() -> None:
    script(COLUMNS)
