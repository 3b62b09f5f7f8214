"""Hatchling's hook: a package that is built from a checkout has the commit in it.

Source: "Build hook plugins", documentation of Hatch.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# In the source. A wheel has the file at its place within `src`.
_FILE = "src/lapel/commit.txt"


class RecordCommit(BuildHookInterface):
    """Adds `lapel/commit.txt` to a wheel and to a source distribution, if the commit is known.

    A source distribution that is unpacked has the file already, and a wheel that is built from it gets it.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a package is built. `version`: `editable` for a checkout, whose commit changes."""
        root = Path(self.root)
        if version == "editable" or (root / _FILE).exists():
            return
        commit = _find_head(root)
        if commit is not None:
            self._folder = tempfile.TemporaryDirectory()  # hatchling reads the file after this method
            file = Path(self._folder.name, "commit.txt")
            file.write_text(commit, encoding="ascii")
            build_data["force_include"][str(file)] = (
                _FILE if self.target_name == "sdist" else _FILE.removeprefix("src/")
            )


def _find_head(root: Path) -> str | None:
    """The commit of the checkout in this folder. None if the folder is no checkout, also if it lies within
    another one, and if git is not installed."""
    try:
        asked = subprocess.run(
            ["git", "--git-dir", str(root / ".git"), "rev-parse", "HEAD"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        return None
    return asked.stdout if asked.returncode == 0 else None
