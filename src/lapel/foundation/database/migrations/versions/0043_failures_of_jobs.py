"""Counts the failures of a job apart from its other retries, so that outages use up none of its tries."""

from lapel.foundation.database.migrations import script

revision = "0043"
down_revision = "0042"


def upgrade() -> None:
    script("ALTER TABLE job_starts ADD COLUMN failures integer NOT NULL DEFAULT 0")
