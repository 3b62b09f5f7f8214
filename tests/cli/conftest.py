"""Commands make whole data folders, thousands of files: here they are in memory."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.memory import folder_in_memory


@pytest.fixture
def tmp_path(tmp_path: Path) -> Generator[Path]:
    """An empty folder of the test's own."""
    with folder_in_memory(tmp_path) as folder:
        yield folder
