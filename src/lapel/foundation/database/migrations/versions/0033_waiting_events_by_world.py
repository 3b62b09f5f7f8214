"""Events without a position by their world, so that the worlds with such events can share each fan-out."""

from lapel.foundation.database.migrations import build_index

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    build_index("events_without_place", "events (world_id, inserted NULLS FIRST, id) WHERE position IS NULL")
