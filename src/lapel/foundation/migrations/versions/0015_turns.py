"""Files are decoded in turns: those that take many come after those that nobody has looked at yet."""

from lapel.foundation.migrations import script

revision = "0015"
down_revision = "0014"

TURNS = """
-- Turns that the step has had without coming to its end.
ALTER TABLE speech_work ADD COLUMN turns integer NOT NULL DEFAULT 0;
-- The process that keeps what was done in them, and goes on with it.
ALTER TABLE speech_work ADD COLUMN worker text;
DROP INDEX speech_work_line;
CREATE INDEX speech_work_line
    ON speech_work (lane, world_id, (lane = 'decode' AND turns > 0), created_at, id);
"""


def upgrade() -> None:
    script(TURNS)
