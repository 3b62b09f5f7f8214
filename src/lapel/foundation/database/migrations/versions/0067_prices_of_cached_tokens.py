"""Slots of language models have prices for tokens that a service keeps between two calls."""

from lapel.foundation.database.migrations import script

revision = "0067"
down_revision = "0066"
serves_older = True

COLUMNS = """
-- Millionths of a US dollar for a million tokens that the service had kept, and for those that it begins to
-- keep; NULL: as other input.
ALTER TABLE provider_slots ADD COLUMN cached_price bigint, ADD COLUMN cache_write_price bigint;
"""


def upgrade() -> None:
    script(COLUMNS)
