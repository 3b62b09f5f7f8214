"""Steps of speech work that wait because a worker's disk is full."""

from lapel.foundation.database.migrations import script

revision = "0022"
down_revision = "0021"

ROOM = """
ALTER TABLE speech_work ADD COLUMN waits_for_room boolean NOT NULL DEFAULT false;
"""


def upgrade() -> None:
    script(ROOM)
