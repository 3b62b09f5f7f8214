"""The id of the secret under which each hash was made, because a hash alone does not show it.

NULL: the hash is older than this column.
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
