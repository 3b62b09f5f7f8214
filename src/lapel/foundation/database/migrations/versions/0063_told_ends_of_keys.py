"""The worker finds the keys whose end the bucket does not have yet."""

from lapel.foundation.database.migrations import build_index, script

revision = "0063"
down_revision = "0062"
serves_older = True

COLUMN = "ALTER TABLE api_keys ADD COLUMN IF NOT EXISTS told_ends timestamptz[];"


def upgrade() -> None:
    script(COLUMN)
    build_index(
        "api_keys_untold",
        """api_keys (world_id, id) WHERE (revoked_at IS NOT NULL OR rotated_to IS NOT NULL)
        AND told_ends IS DISTINCT FROM
            ARRAY[revoked_at, CASE WHEN rotated_to IS NOT NULL THEN expires_at END, issued_revoked_at]""",
    )
