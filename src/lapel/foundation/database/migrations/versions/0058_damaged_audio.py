"""What is missing in an audio is stored with its facts, its recording and its transcriptions."""

from lapel.foundation.database.migrations import script

revision = "0058"
down_revision = "0057"
serves_older = True

COLUMNS = """
-- JSON, as in answers. NULL: the audio was not examined for damage.
ALTER TABLE audio_facts ADD COLUMN warnings text;
-- Milliseconds: the times at which audio is missing. No sentence goes on over them.
ALTER TABLE audio_facts ADD COLUMN gaps bigint[];
-- NULL: the audio was not examined for damage.
ALTER TABLE recordings ADD COLUMN damaged boolean;
ALTER TABLE recordings ADD COLUMN warnings text;
-- NULL: completed before there were warnings, or not completed.
ALTER TABLE transcriptions ADD COLUMN warnings text;
"""


def upgrade() -> None:
    script(COLUMNS)
