"""The names and payloads of this slice's jobs."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import msgspec

# Where work waits. `io`: remote services, a handful at a time. `inference`: the local models, one step after
# the other. `decode`: untrusted files, apart from both; as many steps as decodes run, so that no claimed step
# waits. These are three of the queue's lanes (foundation/queue/jobs.py).
Lane: TypeAlias = Literal["decode", "io", "inference"]
LANES: tuple[Lane, ...] = ("decode", "io", "inference")
Stage: TypeAlias = Literal["probe", "transcribe", "diarize", "finish"]
STAGES: tuple[Stage, ...] = get_args(Stage)

PROCESS = "speech.process"


class Process(msgspec.Struct, frozen=True):
    """An audio has become readable: probe it, and transcribe it if the configuration says so."""

    world_id: int
    recording_id: str
    media_id: str


class Wake(msgspec.Struct, frozen=True):
    """There is a step to do. A worker that takes the job does the next step in order: this one or another."""

    world_id: int
    id: str
    stage: Stage


def entrypoint(lane: Lane) -> str:
    """The entrypoint (name) of a lane's jobs."""
    return f"speech.{lane}"
