"""The named places where a test may end the worker as a power cut would."""

from __future__ import annotations

from lapel.transcription.payloads import STAGES

OF_A_STEP = ("claimed", "done", "before-commit", "committed")
CRASH_POINTS = (
    "process:begin",
    "process:written",
    "process:committed",
    *(f"{stage}:{point}" for stage in STAGES for point in OF_A_STEP),
)
