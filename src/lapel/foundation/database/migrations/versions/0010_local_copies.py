"""The workers that have a copy of a recording's audio on their disk; the erasure ledger waits for them."""

from lapel.foundation.database.migrations import script

revision = "0010"
down_revision = "0009"

LOCAL_COPIES = """
-- A row is written before the first byte of the copy, and removed after the copy. A row has no reference to the
-- recording, because it must stay when the recording is deleted.
CREATE TABLE local_copies (
    world_id bigint NOT NULL REFERENCES worlds (id),
    recording_id text COLLATE "C" NOT NULL,
    -- The folder that has the copy; the name is unique over all machines.
    holder text COLLATE "C" NOT NULL,
    renewed_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, recording_id, holder)
);
CREATE INDEX local_copies_of_holder ON local_copies (holder);
"""


def upgrade() -> None:
    script(LOCAL_COPIES)
