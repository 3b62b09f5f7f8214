"""The newest migration of this installation, and whether it may run on the schema of a database.

Loading Alembic for it would be most of a process's start.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

HAS_SCHEMA = "SELECT to_regclass('public.alembic_version') IS NOT NULL"
# A database of before revision 0061 does not say on which older versions it may be used: on none.
SCHEMA_FOUND = """
SELECT version_num, coalesce(to_jsonb(v) ->> 'oldest_compatible', version_num) FROM public.alembic_version v
"""


class SchemaFound(NamedTuple):
    """The newest migration of a database, and that of the oldest version that may run on it."""

    revision: str
    oldest: str

    @property
    def is_older(self) -> bool:
        """Whether this version needs migrations that the database does not have."""
        return self.revision < newest_revision()

    @property
    def serves(self) -> bool:
        """Whether this version may run on the database."""
        return self.oldest <= newest_revision() <= self.revision


@cache
def newest_revision() -> str:
    """The number of the newest revision, read from the file names: `0001_first_light.py` is revision 0001."""
    folder = Path(__file__).parent.parent / "migrations" / "versions"
    return max(file.name.partition("_")[0] for file in folder.glob("[0-9]*_*.py"))
