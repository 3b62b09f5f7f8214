"""Recordings whose name has changed, so that the vectors of their passages are computed again."""

from lapel.foundation.database.migrations import script

revision = "0049"
down_revision = "0048"

RENAMED = """
-- The vectors of the chunks from this place on were made with an earlier name, and are replaced one batch after
-- the other. NULL: none.
ALTER TABLE search_transcripts ADD COLUMN stale_from integer;
"""


def upgrade() -> None:
    script(RENAMED)
