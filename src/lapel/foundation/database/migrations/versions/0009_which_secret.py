"""Tokens and API keys get a column: the id of the server's secret (LAPEL_SECRET) with which their hash was made.

The hash alone does not show which secret that was.

NULL: the hash was made before this column existed.
"""

from lapel.foundation.database.migrations import script

revision = "0009"
down_revision = "0008"

WHICH = """
ALTER TABLE api_keys ADD COLUMN secret_id text COLLATE "C";
ALTER TABLE device_tokens ADD COLUMN secret_id text COLLATE "C";
ALTER TABLE end_user_tokens ADD COLUMN secret_id text COLLATE "C";
"""


def upgrade() -> None:
    script(WHICH)
