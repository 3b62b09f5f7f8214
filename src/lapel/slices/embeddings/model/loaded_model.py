"""The embedding model in this process. Only child processes import this module: it loads code in C."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lapel.foundation.workers.cores import cores
from lapel.slices.embeddings.failures import NoEmbeddings
from lapel.slices.embeddings.model.encoder_graph import INPUT, encoder_graph
from lapel.slices.embeddings.model.model_files import MISSING, installed_model
from lapel.slices.embeddings.model.model_messages import DIMENSIONS, Kind
from lapel.slices.embeddings.model.tokenizer import Tokenizer
from lapel.slices.embeddings.model.weights_file import WeightsFile

# onnxruntime reads it when it is imported: else it reports to its vendor, and writes files.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as faults

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    from numpy.typing import NDArray

# Of a longer text, the first so many tokens are embedded: a token takes half a millisecond, and others wait.
# The model itself reads 512 at once. 256 tokens of English are about 180 words.
MOST_TOKENS: dict[Kind, int] = {"query": 256, "sentence": 128, "passage": 512}
_NOT_ONE = 0.01  # the most by which the squared length of a vector may differ from 1


class BadVectors(Exception):
    """The engine made something that is no unit vector."""


def installed(threads: int) -> LoadedModel:
    """The installed model, loaded. `threads`: 0 is as many as there are cores. Raises NoEmbeddings."""
    files = installed_model()
    if files is None:
        raise NoEmbeddings(MISSING)
    return LoadedModel(files.weights, threads or cores())


class LoadedModel:
    """multilingual-e5-small, loaded.

    `weights`: the file in the installed package. `threads`: of one call. Raises NoEmbeddings when the weights
    are missing or damaged.
    """

    def __init__(self, weights: Path, threads: int) -> None:
        try:
            self._file = WeightsFile(weights)
        except OSError as absent:
            raise NoEmbeddings(MISSING) from absent
        self.threads = threads
        self._tokenizer = Tokenizer(self._file.vocabulary())
        # All tokens of a text have the first of the model's two types.
        types = self._file.vector("emb.type")[:DIMENSIONS]
        self._positions = self._file.vector("emb.pos").reshape(-1, DIMENSIONS) + types

    def start(self) -> None:
        """Start the engine; call it once. It opens no file.

        Raises NoEmbeddings when the engine does not work on this machine.
        """
        graph = encoder_graph(self._file)
        # One text has all threads. Of several texts each has one thread, so no thread waits for another.
        self._alone, self._beside = _session(graph, self.threads), _session(graph, 1)

    def tokens(self, text: str, kind: Kind) -> list[int]:
        """The tokens that are embedded of a text."""
        prefix = "query: " if kind == "query" else "passage: "
        return self._tokenizer.pieces(prefix + text, MOST_TOKENS[kind])

    def vectors(self, texts: Sequence[str], kind: Kind, pool: Executor) -> bytes:
        """The unit vectors of the texts, in order: DIMENSIONS float32 each, little endian.

        The texts are `cleaned`. `pool`: `threads` threads, which embed several texts at once; callers beside
        each other have pools of their own. Raises BadVectors when the engine makes other vectors.
        """
        return self.vectors_of([self.tokens(text, kind) for text in texts], pool)

    def vectors_of(self, tokens: Sequence[list[int]], pool: Executor) -> bytes:
        """The same of texts that are divided into tokens already. Raises BadVectors, as `vectors`."""
        if len(tokens) == 1:
            found = self._vector(self._alone, tokens[0])[None]
        else:
            found = np.stack(list(pool.map(partial(self._vector, self._beside), tokens)))
        squares = np.einsum("ij,ij->i", found, found)
        if found.shape != (len(tokens), DIMENSIONS) or not bool((abs(squares - 1) < _NOT_ONE).all()):
            raise BadVectors(f"shape {found.shape}, squared lengths {squares}")
        if sys.byteorder == "big":
            found = found.byteswap()
        return found.tobytes()

    def _vector(self, session: ort.InferenceSession, tokens: list[int]) -> NDArray[np.float32]:
        rows = self._file.rows("emb.word", DIMENSIONS, tokens)
        rows += self._positions[: len(tokens)]
        (encoded,) = session.run(None, {INPUT: rows[None]})
        mean = encoded[0].mean(axis=0)
        return mean / np.sqrt(mean @ mean)


def _session(graph: bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # faults come as exceptions
    # Threads that wait for work must sleep: else they keep others from the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # More would join sums and norms to one operator, which takes five times as long.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except (faults.Fail, faults.InvalidArgument, faults.InvalidGraph, faults.NotImplemented) as fault:
        raise NoEmbeddings(f"The embedding model does not load on this machine: {fault}") from fault
