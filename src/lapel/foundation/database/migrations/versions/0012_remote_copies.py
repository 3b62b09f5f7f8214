"""Copies that providers keep until Lapel deletes them there; whether a provider may train on the audio."""

from lapel.foundation.database.migrations import script

revision = "0012"
down_revision = "0011"

COPIES = """
-- A row has no reference to the recording: if the recording is deleted, its copies elsewhere must stay known.
CREATE TABLE remote_copies (
    world_id bigint NOT NULL REFERENCES worlds (id),
    -- The engine and the address that keep the copy (NULL: the vendor's usual address), and the copy's id there.
    engine text NOT NULL,
    base_url text,
    copy_id text COLLATE "C" NOT NULL,
    slot text NOT NULL,
    -- The step (in speech_work) that uses the copy. While that step has the same lease, the copy is not deleted.
    work_id text COLLATE "C" NOT NULL,
    lease text NOT NULL,
    -- The tries to delete the copy that failed, and the reason why the last try failed.
    failures integer NOT NULL DEFAULT 0,
    fault text,
    available_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, engine, copy_id)
);
CREATE INDEX remote_copies_due ON remote_copies (available_at);
"""
TRAINING = "ALTER TABLE provider_slots ADD COLUMN allow_training boolean NOT NULL DEFAULT false;"


def upgrade() -> None:
    script(COPIES)
    script(TRAINING)
