"""Indexes of the erasure ledger: unfinished entries of an end user, and the entries of a type and state."""

from lapel.foundation.database.migrations import build_index

revision = "0039"
down_revision = "0038"


def upgrade() -> None:
    build_index(
        "erasures_unfinished_of_end_user",
        "erasures (world_id, end_user_id, id) WHERE end_user_id IS NOT NULL AND state <> 'closed'",
    )
    build_index(
        "erasures_unfinished_end_users",
        "erasures (world_id, resource_id) WHERE resource_type = 'end_user' AND state <> 'closed'",
    )
    build_index("erasures_by_type", "erasures (world_id, resource_type, state, created_at DESC, id DESC)")
