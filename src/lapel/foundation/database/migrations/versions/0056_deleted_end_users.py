"""A row of an end user that is not deleted is found without reading the end user."""

from lapel.foundation.database.migrations import build_index

revision = "0056"
down_revision = "0055"


def upgrade() -> None:
    build_index("end_users_deleted", "end_users (world_id, id) WHERE deleted_at IS NOT NULL")
