"""The named places at which a test may end the worker like a power cut."""

from __future__ import annotations

from lapel.slices.transcription.payloads import STAGES

OF_A_STEP = ("claimed", "done", "before-commit", "committed")
CRASH_POINTS = (
    "process:begin",
    "process:written",
    "process:committed",
    *(f"{stage}:{point}" for stage in STAGES for point in OF_A_STEP),
)
