"""Keeps the peppers of former secrets, so that keys and tokens outlive any number of changes of the secret."""

from lapel.foundation.database.migrations import script

revision = "0062"
down_revision = "0061"
serves_older = True

UP = """
-- The pepper of each secret that the servers have had since this revision: HMAC key of the hashes of keys and tokens
-- whose row has this secret_id.
CREATE TABLE token_peppers (
    secret_id text COLLATE "C" PRIMARY KEY CHECK (secret_id ~ '^[0-9a-f]{16}$'),
    -- Sealed under the present secret at the latest start of a server or command.
    sealed_pepper bytea NOT NULL,
    kept_at timestamptz NOT NULL
);
"""


def upgrade() -> None:
    script(UP)
