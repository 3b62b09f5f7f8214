"""Files are decoded in turns: a file that has had a turn comes after files that have had none."""

from lapel.foundation.database.migrations import build_index, script

revision = "0015"
down_revision = "0014"

TURNS = """
-- The number of turns that the step has had without ending.
ALTER TABLE speech_work ADD COLUMN IF NOT EXISTS turns integer NOT NULL DEFAULT 0;
-- The process that has the unfinished work of these turns, and continues it.
ALTER TABLE speech_work ADD COLUMN IF NOT EXISTS worker text;
"""
LINE = "speech_work (lane, world_id, (lane = 'decode' AND turns > 0), created_at, id)"


def upgrade() -> None:
    script(TURNS)
    build_index("speech_work_line", LINE)
