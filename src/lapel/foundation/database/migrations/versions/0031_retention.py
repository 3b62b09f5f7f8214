"""What the retention of recordings needs: erased audio, its entries in the ledger, and indexes by age."""

from lapel.foundation.database.migrations import build_index, script

revision = "0031"
down_revision = "0030"

# `audio_erased_at`: the audio was uploaded and has been erased since, while the recording stays.
RECORDINGS = "ALTER TABLE recordings ADD COLUMN IF NOT EXISTS audio_erased_at timestamptz"

# An entry may also name one media; `recording_id` is the recording of this media. The rows in the table fit the
# new constraint, because it only adds a value. Without NOT VALID, the whole table would be read under a lock.
ERASURES = """
ALTER TABLE erasures ADD COLUMN IF NOT EXISTS recording_id text COLLATE "C";
ALTER TABLE erasures DROP CONSTRAINT IF EXISTS erasures_resource_type_check;
ALTER TABLE erasures ADD CONSTRAINT erasures_resource_type_check
    CHECK (resource_type IN ('recording', 'end_user', 'media')) NOT VALID;
"""

# Overrides of the section had no effect before. From now on they have: this gives their authors the same time to
# correct them as after a change.
OVERRIDES = """
UPDATE config_overrides SET updated_at = now() WHERE section = 'retention';
UPDATE organization_config_overrides SET updated_at = now() WHERE section = 'retention';
"""

# The recordings and audio that retention has erased since the installation, for /metrics.
COUNTS = """
CREATE TABLE IF NOT EXISTS retention_counts (
    kind text COLLATE "C" PRIMARY KEY CHECK (kind IN ('recording', 'audio')),
    erased bigint NOT NULL,
    last_erased_at timestamptz NOT NULL
);
"""

_WITH_AUDIO = "WHERE content_sha256_verified_at IS NOT NULL AND audio_erased_at IS NULL"


def upgrade() -> None:
    for block in (RECORDINGS, ERASURES, OVERRIDES, COUNTS):
        script(block)
    build_index("erasures_of_recording", "erasures (world_id, recording_id) WHERE recording_id IS NOT NULL")
    build_index(
        "config_overrides_retention",
        "config_overrides (world_id, level, subject_id) WHERE section = 'retention'",
    )
    # The end user is checked for each recording that is found.
    for name, columns in (
        ("recordings_audio_age", "(world_id, content_sha256_verified_at, id) INCLUDE (end_user_id)"),
        ("recordings_audio_age_of_end_user", "(world_id, end_user_id, content_sha256_verified_at, id)"),
        (
            "recordings_audio_age_of_device",
            "(world_id, device_id, content_sha256_verified_at, id) INCLUDE (end_user_id)",
        ),
    ):
        build_index(name, f"recordings {columns} {_WITH_AUDIO}")
