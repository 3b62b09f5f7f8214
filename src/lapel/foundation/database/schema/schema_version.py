"""The newest migration of this installation, and whether a database has any.

Loading Alembic for it would be most of a process's start.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

HAS_SCHEMA = "SELECT to_regclass('public.alembic_version') IS NOT NULL"


@cache
def newest_revision() -> str:
    """The number of the newest revision, read from the file names: `0001_first_light.py` is revision 0001."""
    folder = Path(__file__).parent.parent / "migrations" / "versions"
    return max(file.name.partition("_")[0] for file in folder.glob("[0-9]*_*.py"))
