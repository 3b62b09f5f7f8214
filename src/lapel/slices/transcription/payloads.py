"""The names and payloads of this slice's jobs."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import msgspec

# The lanes of speech work; `jobs.py` makes them lanes of the queue. `io`: remote services, many steps at a
# time. `inference`: the local models, one step after the other. `decode`: untrusted files. A worker process
# has a decoder for each step of the lanes `decode` and `inference`, so that these steps wait for no decoder.
Lane: TypeAlias = Literal["decode", "io", "inference"]
LANES: tuple[Lane, ...] = ("decode", "io", "inference")
# How many jobs of a lane each worker process runs at a time.
AT_ONCE: dict[Lane, int] = {"decode": 3, "io": 16, "inference": 2}
Stage: TypeAlias = Literal["probe", "transcribe", "diarize", "finish"]
STAGES: tuple[Stage, ...] = get_args(Stage)

PROCESS = "speech.process"


class Process(msgspec.Struct, frozen=True):
    """An audio has become readable: probe it, and transcribe it if the configuration says so."""

    world_id: int
    recording_id: str
    media_id: str


class Wake(msgspec.Struct, frozen=True):
    """There is a step to do. The worker that takes the job begins with the next step in order, which may be
    another step than this one."""

    world_id: int
    id: str
    stage: Stage


def entrypoint(lane: Lane) -> str:
    """The entrypoint (name) of a lane's jobs."""
    return f"speech.{lane}"
