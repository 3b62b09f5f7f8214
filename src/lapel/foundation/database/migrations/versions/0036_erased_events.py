"""Events that are erased, and whose rows a worker removes with their deliveries."""

from lapel.foundation.database.migrations import build_index, script

revision = "0036"
down_revision = "0035"

# Until the row of an erased event is removed, its body has no data and nothing shows or sends it.
EVENTS = "ALTER TABLE events ADD COLUMN IF NOT EXISTS erased boolean NOT NULL DEFAULT false;"


def upgrade() -> None:
    script(EVENTS)
    build_index("events_erased", "events (world_id, id) WHERE erased")
