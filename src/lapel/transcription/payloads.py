"""What this slice's jobs are called, and what they are told."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import msgspec

# Where work waits: remote services by the handful, the local models one after the other, and files that
# strangers made apart from both, as many as are decoded at once, so that no step is taken to wait its turn.
# Three of the queue's own lanes (foundation/jobs.py).
Lane: TypeAlias = Literal["decode", "io", "inference"]
LANES: tuple[Lane, ...] = ("decode", "io", "inference")
Stage: TypeAlias = Literal["probe", "transcribe", "diarize", "finish"]
STAGES: tuple[Stage, ...] = get_args(Stage)

PROCESS = "speech.process"


class Process(msgspec.Struct, frozen=True):
    """An audio has become readable: find out what it is, and do what the configuration says."""

    world_id: int
    recording_id: str
    media_id: str


class Wake(msgspec.Struct, frozen=True):
    """There is a step to do. Whoever takes the job does the step whose turn it is: this one, or another."""

    world_id: int
    id: str
    stage: Stage


def entrypoint(lane: Lane) -> str:
    """The name of a lane's jobs."""
    return f"speech.{lane}"
