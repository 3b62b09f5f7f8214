"""Indexes for lists of events. Test events, which only one webhook gets, are in no list."""

from lapel.foundation.database.migrations import build_index

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    build_index("events_newest", "events (world_id, created_at DESC, id DESC) WHERE test_for IS NULL")
    build_index("events_of_type", "events (world_id, type, created_at DESC, id DESC) WHERE test_for IS NULL")
    # An expression, because an index of `created_at` itself competes with the two above.
    build_index("events_by_age", "events ((created_at AT TIME ZONE 'UTC'))")
