"""What was counted of the day for a transcription, which is given back when it fails through no fault of its audio."""

from lapel.foundation.database.migrations import script

revision = "0023"
down_revision = "0022"

COUNTED = """
ALTER TABLE speech_work ADD COLUMN counted_on date, ADD COLUMN counted_ms bigint;
"""


def upgrade() -> None:
    script(COUNTED)
