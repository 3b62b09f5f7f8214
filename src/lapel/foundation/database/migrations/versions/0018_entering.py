"""An end user's recordings enter the ledger in batches; the end user's own entry waits for the last batch."""

from lapel.foundation.database.migrations import build_index, script

revision = "0018"
down_revision = "0017"

ENTERING = "ALTER TABLE erasures ADD COLUMN IF NOT EXISTS entered boolean NOT NULL DEFAULT true"


def upgrade() -> None:
    script(ENTERING)
    build_index("erasures_entering", "erasures (due_at) WHERE NOT entered")
