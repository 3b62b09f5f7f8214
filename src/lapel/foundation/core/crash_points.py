"""Named crash points: places where a test may end the process at once, as a power cut would.

In production no point is armed, and a point costs one comparison.
"""

from __future__ import annotations

import os
from pathlib import Path

_EXIT_CODE = 70


class _Armed:
    point: str | None = None
    marker: Path | None = None


def arm(instruction: str | None) -> None:
    """Arm a point, given as `point` or `point@marker file`; None arms none.

    The process ends at that point. With a marker file, only the first process that reaches the point ends: it
    removes the file.
    """
    point, _, marker = (instruction or "").partition("@")
    _Armed.point = point or None
    _Armed.marker = Path(marker) if marker else None


def crash_point(name: str) -> None:
    """End the process here if this point is armed and its marker file still exists."""
    if _Armed.point != name:
        return
    if _Armed.marker is not None:
        try:
            _Armed.marker.unlink()  # only the process that removes it ends
        except FileNotFoundError:
            return
    os._exit(_EXIT_CODE)
