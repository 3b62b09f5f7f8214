"""An index that alone suffices to add up the bytes of a world's uploaded media, without reading the table."""

from lapel.foundation.database.migrations import build_index

revision = "0024"
down_revision = "0023"

UPLOADED = "media (world_id) INCLUDE (recording_id, file_size_bytes) WHERE status = 'uploaded'"


def upgrade() -> None:
    build_index("media_uploaded", UPLOADED)
