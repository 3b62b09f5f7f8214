"""Write schema.sql, the schema of a new embedded database, as the migrations make it: `make schema`."""

from __future__ import annotations

import asyncio
import re
import subprocess
import tempfile
from pathlib import Path

import asyncpg

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.database import migrations
from lapel.foundation.database.schema.new_schema import SCHEMA_FILE
from lapel.foundation.database.schema.schema_version import SCHEMA_FOUND, SchemaFound

_HEADER = """\
-- The schema of a new embedded database: what all migrations together make. Written by `make schema`.
"""
# The others are a session's defaults, or of no use here.
_SETTINGS = ("SET check_function_bodies = false;", "SELECT pg_catalog.set_config('search_path', '', false);")

_REVISION = "INSERT INTO public.alembic_version (version_num, oldest_compatible) VALUES ('{}', '{}');"


def main() -> None:
    """Make a database by the migrations, and write what pg_dump says of it."""
    with (
        tempfile.TemporaryDirectory(prefix="lapel-schema-") as folder,
        EmbeddedPostgres(Path(folder)) as server,
    ):
        migrations.upgrade(server.dsn())
        words = ["--schema-only", "--no-owner", "--exclude-extension=vector", server.dsn()]
        dump = subprocess.run(
            [str(server.program("pg_dump")), *words], capture_output=True, text=True, check=True
        ).stdout
        revision = asyncio.run(_revision(server.dsn()))
    SCHEMA_FILE.write_text("\n".join([_HEADER, *_statements(dump), revision, ""]))
    print(f"{SCHEMA_FILE.name} is the schema of revision {migrations.head()}.")


async def _revision(url: str) -> str:
    """The statement that writes the revision, and the oldest one whose servers may run."""
    connection = await asyncpg.connect(url)
    try:
        found = SchemaFound(*await connection.fetchrow(SCHEMA_FOUND) or ("", ""))
    finally:
        await connection.close()
    return _REVISION.format(found.revision, found.oldest)


def _statements(dump: str) -> list[str]:
    """The settings and the other statements of a dump, without its comments."""
    lines = [line for line in dump.splitlines() if not line.startswith(("--", "\\", "SET ", "SELECT "))]
    text = re.sub(r"\n{2,}", "\n\n", "\n".join(lines)).strip()
    return [each + "\n" for each in (*_SETTINGS, text)]


if __name__ == "__main__":
    main()
