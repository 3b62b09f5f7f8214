"""The bytes that a device adds to its diagnostics in a day, and the worlds whose rows exceed the limit."""

from lapel.foundation.database.migrations import script

revision = "0019"
down_revision = "0018"

# Counted in the statement of a heartbeat that brings events: `diagnostics_day` in days since 1970.
DIAGNOSTICS = """
ALTER TABLE devices
    ADD COLUMN diagnostics_day integer,
    ADD COLUMN diagnostics_bytes bigint,
    -- Whether the events of the last heartbeat with events were stored.
    ADD COLUMN diagnostics_taken boolean;
"""

# Measured every few minutes; a world that is not here has room (foundation/database/row_quota.py).
WORLDS = """
CREATE TABLE full_worlds (
    world_id bigint PRIMARY KEY REFERENCES worlds (id),
    bytes bigint NOT NULL,
    measured_at timestamptz NOT NULL
);
"""


def upgrade() -> None:
    script(DIAGNOSTICS)
    script(WORLDS)
