"""The tokens that running calls of language models have reserved: each with an end, so that a kill ends them."""

from lapel.foundation.database.migrations import script

revision = "0048"
down_revision = "0047"

RESERVATIONS = """
-- One row per running call. If its process is killed, the row counts until `ends_at`, which is later than the
-- call could have ended.
CREATE TABLE language_reservations (
    world_id bigint NOT NULL REFERENCES worlds (id),
    id bigint GENERATED ALWAYS AS IDENTITY,
    day date NOT NULL,
    tokens bigint NOT NULL,
    ends_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, id)
);
ALTER TABLE language_usage DROP COLUMN reserved_tokens;
"""


def upgrade() -> None:
    script(RESERVATIONS)
