"""Which key issued an end-user token or an upload token, and when an end-user token expires.

A token whose key has `issued_revoked_at` is refused, even if a running request issues the token afterwards.
"""

from lapel.foundation.database.migrations import script

revision = "0014"
down_revision = "0013"

ISSUED = """
ALTER TABLE api_keys ADD COLUMN issued_revoked_at timestamptz;
ALTER TABLE end_user_tokens
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN issued_by text COLLATE "C",
    ADD FOREIGN KEY (world_id, issued_by) REFERENCES api_keys (world_id, id);
ALTER TABLE upload_tokens
    ADD COLUMN issued_by text COLLATE "C",
    ADD FOREIGN KEY (world_id, issued_by) REFERENCES api_keys (world_id, id);
"""


def upgrade() -> None:
    script(ISSUED)
