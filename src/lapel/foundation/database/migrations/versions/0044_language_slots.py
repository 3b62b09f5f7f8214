"""Slots of language models: their engines, windows and prices; the tokens that each world uses in a day."""

from lapel.foundation.database.migrations import script

revision = "0044"
down_revision = "0043"

SLOTS = """
ALTER TABLE provider_slots DROP CONSTRAINT provider_slots_engine_check;
ALTER TABLE provider_slots ADD CONSTRAINT provider_slots_engine_check CHECK (
    engine IN ('local', 'deepgram', 'assemblyai', 'elevenlabs', 'openai', 'anthropic', 'gemini')
);
-- Copies are those of speech services.
ALTER TABLE remote_copies ADD CONSTRAINT remote_copies_engine_check CHECK (
    engine IN ('local', 'deepgram', 'assemblyai', 'elevenlabs', 'openai')
);
-- Tokens of input and output together; NULL: the model's usual window.
ALTER TABLE provider_slots ADD COLUMN context_tokens integer;
-- Millionths of a US dollar for a million tokens; NULL: unknown.
ALTER TABLE provider_slots ADD COLUMN input_price bigint;
ALTER TABLE provider_slots ADD COLUMN output_price bigint;
"""
USAGE = """
CREATE TABLE language_usage (
    world_id bigint NOT NULL REFERENCES worlds (id),
    day date NOT NULL,
    -- Of calls that are running, or whose process was killed.
    reserved_tokens bigint NOT NULL DEFAULT 0,
    calls bigint NOT NULL DEFAULT 0,
    input_tokens bigint NOT NULL DEFAULT 0,
    output_tokens bigint NOT NULL DEFAULT 0,
    -- Those of the input that the service had in its cache.
    cached_tokens bigint NOT NULL DEFAULT 0,
    -- Millionths of a US dollar, as far as prices are set.
    cost_micros bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (world_id, day)
);
"""


def upgrade() -> None:
    script(SLOTS)
    script(USAGE)
