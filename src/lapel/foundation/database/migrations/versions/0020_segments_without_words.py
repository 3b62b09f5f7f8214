"""Segments without words, in the form of the answer. For older transcriptions, a read makes them."""

from lapel.foundation.database.migrations import script

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    script("ALTER TABLE transcriptions ADD COLUMN segments_plain bytea")
