"""Hatchling's hook: a package that is built from a checkout has the commit in it.

Source: "Build hook plugins", documentation of Hatch.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class RecordCommit(BuildHookInterface):
    """Adds `lapel/commit.txt` to a wheel, unless git does not know the commit."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a wheel is built. `version`: `editable` for a checkout, whose commit changes."""
        if version == "editable":
            return
        asked = subprocess.run(
            ["git", "-C", self.root, "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
        if asked.returncode == 0:
            self._folder = tempfile.TemporaryDirectory()  # hatchling reads the file after this method
            file = Path(self._folder.name, "commit.txt")
            file.write_text(asked.stdout, encoding="ascii")
            build_data["force_include"][str(file)] = "lapel/commit.txt"
