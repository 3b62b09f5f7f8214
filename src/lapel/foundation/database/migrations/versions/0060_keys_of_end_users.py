"""The keys of all end users of a world are listed without reading the project's other keys."""

from lapel.foundation.database.migrations import build_index

revision = "0060"
down_revision = "0059"
serves_older = True


def upgrade() -> None:
    build_index(
        "api_keys_of_end_users",
        "api_keys (world_id, created_at DESC, id DESC) WHERE end_user_id IS NOT NULL",
    )
