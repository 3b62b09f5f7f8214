"""An end user's recordings enter the ledger in batches; the end user's own entry waits for the last one."""

from lapel.foundation.migrations import script

revision = "0018"
down_revision = "0017"

ENTERING = """
ALTER TABLE erasures ADD COLUMN entered boolean NOT NULL DEFAULT true;
CREATE INDEX erasures_entering ON erasures (due_at) WHERE NOT entered;
"""


def upgrade() -> None:
    script(ENTERING)
