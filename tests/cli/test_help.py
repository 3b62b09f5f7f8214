"""Help: of every command, and the overview."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lapel.cli.main import COMMANDS
from tests.support.serving import run

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


def _function(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: each[2])
def test_every_command_has_examples_json_and_its_line_in_the_overview(command: Any) -> None:
    parent, name, place, summary = command
    function = _function(place)
    text = inspect.getdoc(function) or ""
    assert text.splitlines()[0] == summary
    assert re.search(r"^For example:$", text, re.MULTILINE), "no examples"
    assert "json" in inspect.signature(function).parameters
    full = " ".join(["lapel", *([parent.name[0]] if parent.name[0] != "lapel" else []), name])
    assert f"`{full}" in DOCS.read_text(), f"docs/cli.md does not tell of `{full}`"
    assert f"    {full}" in text, "no example calls it"
    long = [line for line in text.splitlines() if line.startswith("    ") and len(line) > 82]
    assert not long, "a terminal of 80 columns would wrap these examples"


def test_help_says_where_the_data_folder_comes_from() -> None:
    assert "$LAPEL_DATA_DIR" in run("doctor", "--help", cold=True).stdout


def test_help_shows_the_examples() -> None:
    done = run("keys", "create", "--help", cold=True)
    assert "lapel keys create --mode live" in done.stdout
    assert "--end-user" in done.stdout


def test_the_overview_is_quick_and_names_every_command() -> None:
    script = "import sys; sys.argv = ['lapel', '--help']; from lapel.cli.main import main\n"
    script += "try:\n    main()\nfinally:\n    assert not {'asyncpg', 'alembic'} & set(sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("serve", "demo", "init", "projects", "keys", "migrate", "backup", "restore", "doctor"):
        assert re.search(rf"^│ {name} ", done.stdout, re.MULTILINE)
