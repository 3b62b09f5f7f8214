"""The program of a child process, and its start.

This module imports as little as possible, because the spawner keeps it in memory.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from lapel.foundation.workers.worker_child import Bounds
from lapel.process_environment import environment_without_ours

# For libraries: idle threads do not spin, and no telemetry is sent. Without ORT_DISABLE_TELEMETRY,
# onnxruntime reports to its vendor, and leaves files in the home folder and in the temporary folder.
_QUIET = {"OPENBLAS_NUM_THREADS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "ORT_DISABLE_TELEMETRY": "1"}

_Text: TypeAlias = Annotated[str, Meta(max_length=4096)]
_Arguments: TypeAlias = Annotated[list[_Text], Meta(max_length=16)]
_Paths: TypeAlias = Annotated[list[_Text], Meta(max_length=256)]
_Bytes: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 62)]


class ChildProgram(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`python -m MODULE`, with the limits of WorkerProcess. `reads`: None for a trusted child."""

    module: _Text
    arguments: _Arguments
    memory_bytes: _Bytes
    reads: _Paths | None


def start_program(program: ChildProgram, streams: int, errors: int, files: int) -> subprocess.Popen[bytes]:
    """Start a child of this process. Raises OSError, and ValueError for an argument with a NUL character.

    `streams`: its standard input and output; `errors`: its standard error; `files`: how it gets files.
    """
    bounds = Bounds(memory_bytes=program.memory_bytes, parent=os.getpid(), files=files, reads=program.reads)
    told = msgspec.json.encode(bounds).decode()
    # -P: imports nothing from the working directory, which holds no code of ours.
    return subprocess.Popen(
        (sys.executable, "-P", "-m", program.module, told, *program.arguments),
        env=environment_without_ours(**_QUIET),
        stdin=streams, stdout=streams, stderr=errors, pass_fds=[files],
    )  # fmt: skip
