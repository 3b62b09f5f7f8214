"""The fingerprint of the installation's secret, so that a machine with another secret does not start."""

from lapel.foundation.database.migrations import script

revision = "0052"
down_revision = "0051"

UP = """
-- One row: the fingerprint of the secret under which the servers make keys and seal values. An installation that
-- was made before this revision gets it at its next start.
CREATE TABLE installation_secret (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- An HMAC with the secret as its key, never the secret or a plain hash of it.
    fingerprint text COLLATE "C" NOT NULL CHECK (fingerprint ~ '^[0-9a-f]{16}$'),
    recorded_at timestamptz NOT NULL
);
"""


def upgrade() -> None:
    script(UP)
