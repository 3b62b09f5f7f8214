"""The page for operators names the lines that tell of an outage as the code logs them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOLD = re.compile(r'\bOUTAGES\.tell\(\s*_log,\s*"([a-z_.]+)"')


def test_the_page_lists_every_line_about_a_database_that_is_away() -> None:
    files = (ROOT / "src").rglob("*.py")
    logged = {name for file in files for name in TOLD.findall(file.read_text())}
    page = (ROOT / "docs" / "operations.md").read_text()
    listed = re.search(r"know all of these names: (.*?)\. Jobs", page, re.DOTALL)
    assert listed
    assert set(re.findall(r"`([a-z_.]+)`", listed[1])) == logged
    assert "revocations.listen_lost" in logged
