"""The audio counted for a transcription; the count is undone if the audio did not cause the failure."""

from lapel.foundation.database.migrations import script

revision = "0023"
down_revision = "0022"

COUNTED = """
ALTER TABLE speech_work ADD COLUMN counted_on date, ADD COLUMN counted_ms bigint;
"""


def upgrade() -> None:
    script(COUNTED)
