"""Lists by time find the recordings that were created long after, or before, the time of their recording."""

from lapel.foundation.database.migrations import build_index

revision = "0054"
down_revision = "0053"


def upgrade() -> None:
    build_index(
        "recordings_of_another_day",
        "recordings (world_id, created_at DESC, id DESC) "
        "WHERE greatest(created_at - recorded_at, recorded_at - created_at) > interval '24 hours'",
    )
