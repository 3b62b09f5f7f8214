"""The process that embeds passages.

Started as `python -m lapel.slices.embeddings.model.embedding_child`.

A WorkerProcess starts this process. The arguments are the file of the weights and the number of threads.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from lapel.foundation.workers.parent_death import keep_one_heap
from lapel.foundation.workers.worker_child import Refusal, answer_requests
from lapel.slices.embeddings.failures import NoEmbeddings
from lapel.slices.embeddings.model.loaded_model import LoadedModel
from lapel.slices.embeddings.model.model_messages import UNUSABLE, Embed, Vectors

if TYPE_CHECKING:
    from lapel.foundation.workers.worker_child import Report

# Less urgent than the work for which clients wait: the query process, the API, and the database.
_NICENESS = 5


class _LazyModel:
    """The model, loaded for the first request: by then the process has given up its rights."""

    def __init__(self, weights: Path, threads: int) -> None:
        self._weights = weights
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self._loaded: LoadedModel | None = None

    def answer(self, request: Embed, _report: Report) -> Vectors:
        try:
            if self._loaded is None:
                self._loaded = LoadedModel(self._weights, self._threads)
                self._loaded.start()
        except NoEmbeddings as fault:
            raise Refusal(UNUSABLE, str(fault)) from fault
        return Vectors(self._loaded.vectors(request.texts, request.kind, self._pool))


def main(arguments: list[str]) -> None:
    """Answer requests until the parent is gone. `arguments`: the command line, set by WorkerProcess."""
    bounds, weights, threads = arguments[:3]
    os.nice(_NICENESS)
    keep_one_heap()
    answer_requests(Embed, _LazyModel(Path(weights), int(threads)).answer, bounds)


if __name__ == "__main__":
    main(sys.argv[1:])
