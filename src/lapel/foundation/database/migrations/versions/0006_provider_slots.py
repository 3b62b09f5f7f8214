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
    -- The address of the engine; NULL: the vendor's usual address.
    base_url text,
    -- Sealed (AES-GCM) for this world, slot, engine and base_url, so that the key is sent to no other address.
    sealed_key bytea,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, slot)
);
"""


def upgrade() -> None:
    script(SLOTS)
