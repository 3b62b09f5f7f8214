"""Where faults happen."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.memory import folder_in_memory


@pytest.fixture
def quick_folder(tmp_path: Path) -> Generator[Path]:
    """An empty folder in which every fsync is free."""
    with folder_in_memory(tmp_path) as folder:
        yield folder
