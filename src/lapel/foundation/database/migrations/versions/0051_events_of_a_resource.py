"""The events of one resource are read in the order of their list, instead of sorted for each page.

The order has ids too, for events of one microsecond, which PostgreSQL sorts among themselves. An index with ids
is 1.4 times as large, and makes inserting events a fifth slower.
"""

from lapel.foundation.database.migrations import build_index

revision = "0051"
down_revision = "0050"


def upgrade() -> None:
    build_index("events_of_resource", "events (world_id, resource_id, created_at DESC)")
