"""The languages among which that of a recording is detected stand with its transcription."""

from lapel.foundation.database.migrations import script

revision = "0064"
down_revision = "0063"
serves_older = True

COLUMNS = """
-- Language tags as they were asked for, or as the configuration had them; null: all that the engine knows.
ALTER TABLE transcriptions ADD COLUMN languages_asked text[];
"""


def upgrade() -> None:
    script(COLUMNS)
