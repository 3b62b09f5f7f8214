"""The chunks of a transcript know by which rules their lexemes were made, so that newer rules reach them."""

from lapel.foundation.database.migrations import script

revision = "0066"
down_revision = "0065"
serves_older = True

COLUMN = """
ALTER TABLE search_transcripts ADD COLUMN words_version smallint NOT NULL DEFAULT 1;
"""


def upgrade() -> None:
    script(COLUMN)
