"""Segments without their words, ready to be sent; of earlier transcriptions they are made when they are read."""

from lapel.foundation.database.migrations import script

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    script("ALTER TABLE transcriptions ADD COLUMN segments_plain bytea")
