"""The audio that was counted for a transcription; it is given back if the failure is not the audio's fault."""

from lapel.foundation.database.migrations import script

revision = "0023"
down_revision = "0022"

COUNTED = """
ALTER TABLE speech_work ADD COLUMN counted_on date, ADD COLUMN counted_ms bigint;
"""


def upgrade() -> None:
    script(COUNTED)
