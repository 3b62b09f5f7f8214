"""The engine that answers each slot of a world. The local engine answers a slot without a row."""

from lapel.foundation.database.migrations import script

revision = "0006"
down_revision = "0005"

SLOTS = """
CREATE TABLE provider_slots (
    world_id bigint NOT NULL REFERENCES worlds (id),
    slot text COLLATE "C" NOT NULL,
    engine text NOT NULL CHECK (engine IN ('local', 'deepgram', 'assemblyai', 'elevenlabs', 'openai')),
    model text,
    -- Where the engine listens; NULL: at its maker's.
    base_url text,
    -- Sealed (AES-GCM), bound to world, slot, engine and base_url, so that a key goes nowhere else.
    sealed_key bytea,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, slot)
);
"""


def upgrade() -> None:
    script(SLOTS)
