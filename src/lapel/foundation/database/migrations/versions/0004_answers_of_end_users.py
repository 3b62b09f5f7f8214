"""The end user of a stored answer, so that the answer is deleted with the end user."""

from lapel.foundation.database.migrations import script

revision = "0004"
down_revision = "0003"

ANSWERS = """
ALTER TABLE idempotency_keys ADD COLUMN end_user_id text COLLATE "C";
CREATE INDEX idempotency_keys_of_end_user ON idempotency_keys (world_id, end_user_id)
    WHERE end_user_id IS NOT NULL;
"""


def upgrade() -> None:
    script(ANSWERS)
