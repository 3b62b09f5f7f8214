"""A completed summary says which of its fields are empty, and how much was left out."""

from lapel.foundation.database.migrations import script

revision = "0057"
down_revision = "0056"
serves_older = True

COLUMNS = """
-- JSON: a list of objects with code and message, as in answers.
ALTER TABLE summaries ADD COLUMN warnings bytea NOT NULL DEFAULT '[]';
"""


def upgrade() -> None:
    script(COLUMNS)
