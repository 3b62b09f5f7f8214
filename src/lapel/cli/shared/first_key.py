"""The first key is shown on a terminal, else written to a file: piped output often ends in a log."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from lapel.cli.shared.options import is_piped
from lapel.hosting.data_folder import DataFolder


class FirstKey(NamedTuple):
    """The `key` to show, or the `file` (mode 0600) that holds the key; both are None without a new key."""

    key: str | None = None
    file: str | None = None

    def line(self) -> str | None:
        """The text beside `Secret key` in the output; None when there is no new key."""
        if self.key is not None:
            return f"{self.key}   (shown this once; `lapel keys create` makes more)"
        if self.file is not None:
            return f"in {self.file}; delete the file after you have stored the key elsewhere"
        return None


def handed_over(key: str | None, data_dir: Path) -> FirstKey:
    """If stdout is a terminal, returns the new key in the field `key`.

    Otherwise writes the key to the file `first-key` in the data folder, and returns the path of this file in
    the field `file`. If there is no new key, both fields are None.
    """
    if key is None or not is_piped():
        return FirstKey(key=key)
    return FirstKey(file=str(DataFolder(data_dir).put_first_key(key)))
