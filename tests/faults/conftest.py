"""Fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.database import migrations


@pytest.fixture
def own_postgres(quick_folder: Path) -> Generator[EmbeddedPostgres]:
    """A server that the test may stop; it must be started in the main thread."""
    server = EmbeddedPostgres(quick_folder / "database")
    server.start()
    try:
        migrations.upgrade(server.dsn())
        yield server
    finally:
        server.stop()
