"""Indexes of pending deliveries and waiting events whose first column is an expression.

Only the statements of the workers write these expressions. So PostgreSQL can choose no other index for them,
although after a backlog such an index has many pages for few entries, and each look-up in it seems dear.
"""

from lapel.foundation.database.migrations import build_index

revision = "0042"
down_revision = "0041"

OF_PENDING = "(CASE WHEN state = 'pending' THEN world_id::text || webhook_id END)"
OF_NEW = "(CASE WHEN state = 'pending' AND attempts = 0 THEN world_id::text || webhook_id END)"
OF_WAITING = "(CASE WHEN position IS NULL THEN world_id END)"


def upgrade() -> None:
    build_index(
        "webhook_deliveries_due", f"webhook_deliveries ({OF_PENDING}, due_at) WHERE {OF_PENDING} IS NOT NULL"
    )
    build_index(
        "webhook_deliveries_first",
        f"webhook_deliveries ({OF_NEW}, resource_id, position) WHERE {OF_NEW} IS NOT NULL",
    )
    build_index(
        "events_without_place",
        f"events ({OF_WAITING}, inserted NULLS FIRST, id) WHERE {OF_WAITING} IS NOT NULL",
    )
