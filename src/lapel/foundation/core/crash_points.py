"""Named crash points: places where a test may end the process at once, as a power cut would.

In production no point is armed, and a point costs one look into an empty dictionary.
"""

from __future__ import annotations

import os
from pathlib import Path

_EXIT_CODE = 70
_armed: dict[str, Path] = {}


def arm(instructions: str | None) -> None:
    """Arm each `point@marker file`, separated by `;`: the process ends at a point while its file exists.

    The process that ends removes the file, so that each file ends one process.
    """
    _armed.clear()
    for each in filter(None, (instructions or "").split(";")):
        point, marker = each.split("@", 1)
        _armed[point] = Path(marker)


def crash_point(name: str) -> None:
    """End the process here if this point is armed and its marker file still exists."""
    if name not in _armed:
        return
    try:
        _armed[name].unlink()  # only the process that removes it ends
    except FileNotFoundError:
        return
    os._exit(_EXIT_CODE)
