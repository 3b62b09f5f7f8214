"""The parent's side of the process that embeds passages.

docs/decisions/0014 says what the parent accepts from a child that reads hostile texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.workers.cores import cores
from lapel.foundation.workers.worker_child import Refusal
from lapel.foundation.workers.worker_process import SubworkerDied, SubworkerTimeout, WorkerProcess
from lapel.slices.embeddings.failures import EmbeddingsAway, NoEmbeddings
from lapel.slices.embeddings.model.model_messages import VECTOR_BYTES, Embed, Vectors, unpacked

if TYPE_CHECKING:
    from lapel.slices.embeddings.model.model_files import ModelFiles
    from lapel.slices.embeddings.model.model_messages import Kind

_MIB = 1024 * 1024
# Of address space: Python and the weights, and the stack and the heap of each thread.
_MEMORY = 768 * _MIB
_MEMORY_PER_THREAD = 128 * _MIB
_IDLE_SECONDS = 60.0
# Of a batch, which takes five seconds on two free cores. Work that takes longer is stuck.
_BATCH_SECONDS = 120.0


class OwnChild:
    """A child process of this process, with the model. It starts with the first call, and ends when idle.

    It answers one call at a time; other calls wait in the order in which they came. `threads`: 0 is as many
    as there are cores.
    """

    def __init__(self, files: ModelFiles, threads: int) -> None:
        threads = threads or cores()
        self._worker = WorkerProcess(
            "lapel.slices.embeddings.model.embedding_child",
            str(files.weights),
            str(threads),
            memory_bytes=_MEMORY + threads * _MEMORY_PER_THREAD,
            idle_seconds=_IDLE_SECONDS,
            reads=(files.weights.parent,),
        )

    @property
    def pid(self) -> int | None:
        """Process id of the child while there is one."""
        return self._worker.pid

    async def vectors(self, texts: list[str], kind: Kind) -> list[bytes]:
        """The vectors of one batch of cleaned texts.

        Raises EmbeddingsAway when the child dies or takes too long, NoEmbeddings when it cannot use the
        model.
        """
        try:
            answer = await self._worker.call(Embed(texts, kind), Vectors, seconds=_BATCH_SECONDS)
        except Refusal as refusal:
            raise NoEmbeddings(refusal.message) from None
        except (SubworkerDied, SubworkerTimeout) as fault:
            raise EmbeddingsAway(f"The process of the embedding model: {fault}.") from None
        except OSError as fault:
            raise EmbeddingsAway(f"The process of the embedding model does not start: {fault}.") from fault
        if len(answer.packed) != len(texts) * VECTOR_BYTES:
            raise EmbeddingsAway("The process of the embedding model answered nonsense.")
        return unpacked(answer.packed)

    async def aclose(self) -> None:
        """End the child. A running call raises EmbeddingsAway; a later call starts another child."""
        await self._worker.close()
