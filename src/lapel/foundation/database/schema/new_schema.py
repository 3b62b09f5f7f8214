"""The schema of a new embedded database in one script: the migrations one by one take three times as long."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import asyncpg

from lapel.foundation.database.schema.schema_version import HAS_SCHEMA

# What all migrations together make, without the extensions. `make schema` writes it.
SCHEMA_FILE: Final = Path(__file__).parent / "schema.sql"


def make_schema(dsn: str) -> bool:
    """Make the newest schema in an empty database of the role `lapel`. Blocks; call it outside an event loop.

    False: the database has a schema already, perhaps an older one. Raises the driver's errors unchanged;
    after an error nothing is made.
    """
    return asyncio.run(_make(dsn))


async def _make(dsn: str) -> bool:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        if await connection.fetchval(HAS_SCHEMA):
            return False
        await connection.execute(SCHEMA_FILE.read_text())  # several statements are one transaction
    finally:
        await connection.close()
    return True
