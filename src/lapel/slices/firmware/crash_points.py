"""The named places where a test may end the process at once, as a power cut would."""

from __future__ import annotations

CRASH_POINTS = (
    # the upload of a release
    "firmware:begin",
    "firmware:writing",
    "firmware:stored",
    "firmware:before-commit",
    "firmware:committed",
    # the jobs of a rollout
    "rollout:begin",
    "rollout:before-commit",
    "rollout:committed",
    "rollout:halted",
    "withdraw:before-commit",
    "withdraw:committed",
    # the schedules
    "deadlines:before-commit",
    "deadlines:committed",
    "firmware-sweep:before-delete",
    "firmware-sweep:deleted",
)
