"""The SQL of the system. It is about the database as a whole, so no statement takes a world."""

from __future__ import annotations

REVISION = "SELECT version_num FROM alembic_version"
