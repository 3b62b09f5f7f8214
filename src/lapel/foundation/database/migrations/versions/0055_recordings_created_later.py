"""Lists by time read fewer recordings beside those that they show."""

from lapel.foundation.database.migrations import build_index

revision = "0055"
down_revision = "0054"

_ORDER = "recordings (world_id, created_at DESC, id DESC)"


def upgrade() -> None:
    build_index(
        "recordings_created_later",
        f"{_ORDER} WHERE created_at - recorded_at > interval '10 minutes' "
        "AND created_at - recorded_at <= interval '24 hours'",
    )
    build_index(
        "recordings_created_earlier",
        f"{_ORDER} WHERE recorded_at - created_at > interval '10 minutes' "
        "AND recorded_at - created_at <= interval '24 hours'",
    )
    build_index(
        "recordings_created_days_earlier",
        f"{_ORDER} WHERE recorded_at - created_at > interval '24 hours'",
    )
