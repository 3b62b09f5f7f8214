"""The named places where a test may end the worker as a power cut would."""

from __future__ import annotations

CRASH_POINTS = (
    "process:begin",
    "process:written",
    "process:committed",
    "step:claimed",
    "step:fetched",
    "step:done",
    "step:before-commit",
    "step:committed",
)
