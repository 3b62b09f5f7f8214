"""The order of events: a position in the stream of their world."""

from lapel.foundation.database.migrations import build_index, script

revision = "0025"
down_revision = "0024"

# `inserted` orders the events of one resource: the transaction of an earlier event has committed before that
# of a later event begins. `position` is the event's place in the stream of its world: the fan-out sets it.
# `test_for`: the webhook that asked for this test event; only this webhook gets it.
EVENTS = """
CREATE SEQUENCE IF NOT EXISTS events_inserted;
ALTER TABLE events
    ADD COLUMN IF NOT EXISTS inserted bigint,
    ADD COLUMN IF NOT EXISTS position bigint,
    ADD COLUMN IF NOT EXISTS test_for text COLLATE "C";
ALTER TABLE events ALTER COLUMN inserted SET DEFAULT nextval('events_inserted');

-- The position of each world's newest placed event.
CREATE TABLE event_positions (
    world_id bigint PRIMARY KEY REFERENCES worlds (id),
    last bigint NOT NULL
);
"""


def upgrade() -> None:
    script(EVENTS)
    # Events from before this revision have no place yet, so the fan-out places them first.
    build_index("events_without_place", "events (inserted NULLS FIRST, id) WHERE position IS NULL")
    build_index("events_in_order", "events (world_id, position)")
