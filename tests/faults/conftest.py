"""Fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from tests.support.installation import Installation


@pytest.fixture
def own_postgres(installation: Installation, quick_folder: Path) -> Generator[EmbeddedPostgres]:
    """A server with a migrated database that the test may stop; it must be started in the main thread."""
    installation.copy(quick_folder / "database")
    server = EmbeddedPostgres(quick_folder / "database")
    server.start()
    try:
        yield server
    finally:
        server.stop()
