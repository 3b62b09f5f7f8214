"""Runs the local language model in a child process: one answer at a time, ended when its caller leaves."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncGenerator, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import structlog

from lapel.foundation.workers.cores import cores
from lapel.foundation.workers.worker_child import Refusal
from lapel.foundation.workers.worker_process import SubworkerDied, SubworkerTimeout, WorkerProcess
from lapel.slices.language_models.language_model import Purpose
from lapel.slices.language_models.local.generation_line import GenerationLine
from lapel.slices.language_models.local.generation_messages import Asked, Finished, Generate, Load, Loaded
from lapel.slices.language_models.local.language_weights import NotJoined, join
from lapel.slices.language_models.model_failures import ModelAway, ModelFailed

if TYPE_CHECKING:
    from lapel.settings import Settings
    from lapel.slices.language_models.local.language_weights import LanguageWeights
    from lapel.slices.language_models.model_failures import FailureCode

CHILD: Final = "lapel.slices.language_models.local.generation_child"
# Seconds to wait in line, and for the whole of an answer. Nobody waits for a summary, and on a busy machine a
# full window takes a quarter of an hour.
_PATIENCE: Final[Mapping[Purpose, float]] = {"ask": 120.0, "summary": 600.0}
_ANSWERING: Final[Mapping[Purpose, float]] = {"ask": 300.0, "summary": 1800.0}
_LOADING = 300.0  # from a slow disk
# Seconds in which a model ends an answer that nobody wants any more. Then its process is ended.
_LEAVING = 2.0
_GIB = 1 << 30
# Bytes of the window's memory for a token: that of models with some 14 billion weights and less.
_PER_TOKEN = 256 * 1024

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def threads_of(settings: Settings) -> int:
    """The threads of the model: those that are set, else one less than there are cores."""
    return settings.language_model_threads or max(1, cores() - 1)


class LocalGenerator:
    """The model of this machine. Its process starts with the first request and ends after an idle time."""

    def __init__(
        self,
        weights: LanguageWeights,
        settings: Settings,
        *,
        folder: Path | None = None,
        child: str = CHILD,
    ) -> None:
        """`folder`: where to make a private folder; None for the system's folder of temporary files. `child`:
        the module of the model's process."""
        self._root = folder
        self._weights = weights
        self._context_tokens = settings.language_model_context
        self._threads = threads_of(settings)
        self._idle_seconds = settings.language_model_idle_seconds
        self._child = child
        self._line = GenerationLine(_PATIENCE)
        self._worker: WorkerProcess | None = None
        self._folder: Path | None = None
        self._loaded: int | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Process id of the model's process while there is one."""
        return None if self._worker is None else self._worker.pid

    async def stream(self, asked: Asked) -> AsyncGenerator[str | Finished]:
        """The answer in pieces of text, then one Finished. To close the generator interrupts the model.

        Raises ModelFailed (`context`: the prompt is longer than the window; `engine`: the model cannot be
        loaded, or cannot answer in this form), and ModelAway when the line is full, the model's process
        ended, or it took too long.
        """
        async with self._line.turn(asked.world, asked.purpose) as same_world:
            worker = await self._ready()
            pieces: asyncio.Queue[str | None] = asyncio.Queue()
            # A prompt's beginning is reused only within a world: how long an answer takes would tell another
            # world of it.
            request = Generate(prompt=asked.prompt, reuse=same_world)
            call = asyncio.create_task(
                worker.call(request, Finished, seconds=_ANSWERING[asked.purpose], pieces=pieces.put_nowait)
            )
            call.add_done_callback(lambda _: pieces.put_nowait(None))
            try:
                while (piece := await pieces.get()) is not None:
                    yield piece
                with _failures_as_ours():
                    finished = await call
                yield finished
            finally:
                await _interrupted(worker, call)

    async def _ready(self) -> WorkerProcess:
        """The model's process with the model loaded. Raises ModelFailed, ModelAway."""
        if self._closed:
            raise ModelAway("The local language model has been put away: the server shuts down.")
        worker = self._worker or await self._made()
        if worker.pid is None or worker.pid != self._loaded:
            with _failures_as_ours():
                loaded = await worker.call(Load(), Loaded, seconds=_LOADING)
            self._loaded = worker.pid
            _log.info("language_model.loaded", model=self._weights.name, seconds=round(loaded.seconds, 1))
        return worker

    async def _made(self) -> WorkerProcess:
        try:
            await asyncio.to_thread(join, self._weights)
            size = self._weights.file.stat().st_size
            self._folder, inner = await asyncio.to_thread(_socket_folder, self._root)
        except NotJoined as fault:
            raise ModelFailed("engine", str(fault)) from fault
        except OSError as fault:
            raise ModelAway(f"The local language model cannot start ({fault.strerror}).") from fault
        # The file is mapped, and may be copied once; a GiB is for code and buffers.
        memory = 2 * size + _GIB + _PER_TOKEN * self._context_tokens
        self._worker = WorkerProcess(
            self._child,
            *(str(self._weights.file), str(inner), str(self._context_tokens), str(self._threads)),
            memory_bytes=memory,
            idle_seconds=self._idle_seconds,
            reads=None,  # it confines itself, because it needs one socket first
        )
        return self._worker

    async def aclose(self) -> None:
        """End the model's process for good. A running call, and every later call, raises ModelAway."""
        self._closed = True
        if self._worker is not None:
            await self._worker.close()
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)


def _socket_folder(root: Path | None) -> tuple[Path, Path]:
    """A new private folder, and a folder in it in which all accounts may make files.

    The model's process works in the inner folder. It may have another account, which could not enter the
    outer one. Raises OSError.
    """
    outer = Path(tempfile.mkdtemp(prefix="lapel-model-", dir=root))
    inner = outer / "work"
    inner.mkdir()
    inner.chmod(0o777)  # in a folder of mode 0700
    return outer, inner


async def _interrupted(worker: WorkerProcess, call: asyncio.Task[Finished]) -> None:
    """End a call that nobody waits for any more, if need be with its process."""
    try:
        if not call.done():
            worker.interrupt()
            await asyncio.wait({call}, timeout=_LEAVING)
    finally:
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError, Refusal, SubworkerDied, SubworkerTimeout, OSError):
            await call


@contextlib.contextmanager
def _failures_as_ours() -> Generator[None]:
    try:
        yield
    except Refusal as refusal:
        raise ModelFailed(cast("FailureCode", refusal.code), refusal.message) from None
    except SubworkerTimeout as late:
        raise ModelAway(f"The local language model was {late}.", how="timed_out") from None
    except SubworkerDied as died:
        raise ModelAway(f"The process of the local language model ended in mid-work ({died}).") from None
    except OSError as fault:
        raise ModelAway(
            f"The process of the local language model cannot be started ({fault.strerror})."
        ) from fault
