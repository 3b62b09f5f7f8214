"""The amount of audio that each world has had transcribed in a day."""

from lapel.foundation.database.migrations import script

revision = "0017"
down_revision = "0016"

DAILY_AUDIO = """
CREATE TABLE daily_audio (
    world_id bigint NOT NULL REFERENCES worlds (id),
    day date NOT NULL,
    milliseconds bigint NOT NULL,
    PRIMARY KEY (world_id, day)
);
"""


def upgrade() -> None:
    script(DAILY_AUDIO)
