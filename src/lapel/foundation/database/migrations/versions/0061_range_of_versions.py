"""The database says which versions of Lapel may run on it."""

from lapel.foundation.database.migrations import script

revision = "0061"
down_revision = "0060"
# A version that knows only the schema before runs on no other: it does not look for the range.
serves_older = False


def upgrade() -> None:
    script("ALTER TABLE alembic_version ADD COLUMN oldest_compatible varchar(32)")
