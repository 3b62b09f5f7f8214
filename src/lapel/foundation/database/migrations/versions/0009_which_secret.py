"""Beside each hash stands which secret it was made under: a hash alone does not tell.

NULL: made before this was noted.
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
