"""Copies that providers keep until Lapel deletes them there; whether a provider may train on the audio."""

from lapel.foundation.database.migrations import script

revision = "0012"
down_revision = "0011"

COPIES = """
-- Without a reference to the recording: deleting that must not forget what is still kept elsewhere.
CREATE TABLE remote_copies (
    world_id bigint NOT NULL REFERENCES worlds (id),
    -- At which engine and address (NULL: its maker's), and its id there.
    engine text NOT NULL,
    base_url text,
    copy_id text COLLATE "C" NOT NULL,
    slot text NOT NULL,
    -- The step that uses it (speech_work): as long as the lease is the same, it is not deleted.
    work_id text COLLATE "C" NOT NULL,
    lease text NOT NULL,
    -- Tries of deleting it, and why the last one failed.
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
