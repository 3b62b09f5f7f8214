"""A child process that answers one request at a time: for work that must not block or crash this process.

The child is `python -m MODULE`; that module calls `answer_requests` of worker_child.py. A `WorkerProcess`
starts the child at the first request, and again after the child has died. Requests, progress and answers are
frames on its pipes: the body's length (4 bytes, big endian), one byte, and the body in MessagePack
(https://msgpack.org). In a request, the one byte is the number of the request's files. In progress and
answers, it is the kind of the frame. The files that a request names are sent as open descriptors over a
separate Unix socket (SCM_RIGHTS, see unix(7)). A call that takes too long, or is cancelled, ends the child.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

import msgspec
import structlog

from lapel.foundation.core.disk_guard import is_disk_full
from lapel.foundation.workers.piped_child import DirectChild, PipedChild
from lapel.foundation.workers.spawning.child_program import ChildProgram, start_program
from lapel.foundation.workers.spawning.spawner_client import SpawnerClient
from lapel.foundation.workers.worker_child import HEAD, PROGRESS, REFUSAL, Refusal, RefusalFrame

T = TypeVar("T", bound=msgspec.Struct)

_STDERR_PIECES = 20
# The most bytes that a child under an attacker's control can make this process hold.
_LARGEST_ANSWER = 64 * 1024 * 1024
_LAST_SECONDS = 2.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class SubworkerDied(Exception):
    """The child ended during the work: it was killed, ran out of memory, or crashed."""


class SubworkerTimeout(Exception):
    """The work exceeded its time; the child was ended."""


@runtime_checkable
class NamesFiles(Protocol):
    """A request that names files. The parent opens them and hands them over, because the child may not."""

    def files(self) -> Sequence[tuple[str, int]]:
        """The paths, with the flags to open each."""
        ...


class WorkerProcess:
    """The parent's side. One call at a time; others wait their turn.

    `memory_bytes`: address space that the child may use at most (0: no bound; Linux only).
    `idle_seconds`: the child is ended after this time without a call, which frees its memory (None: never).
    `reads`: files and folders, besides Python's own, that the child opens by name; None for a child that is
    trusted and keeps all our rights.

    `spawner` starts the fenced children of a process that has given up the rights which this needs. It is of
    the process, as these rights are; None: the process starts its children itself.
    """

    spawner: ClassVar[SpawnerClient | None] = None

    def __init__(
        self,
        module: str,
        *arguments: str,
        memory_bytes: int = 0,
        idle_seconds: float | None = None,
        reads: Sequence[Path] | None = (),
    ) -> None:
        self._module = module
        self._arguments = arguments
        self._memory_bytes = memory_bytes
        self._reads = None if reads is None else [str(each) for each in reads]
        self._files: socket.socket | None = None
        self._idle_seconds = idle_seconds
        self._turn = asyncio.Lock()
        self._child: PipedChild | None = None
        self._listening: asyncio.Task[None] | None = None
        self._said: deque[str] = deque(maxlen=_STDERR_PIECES)
        self._idle: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the child while there is one."""
        return None if self._child is None or self._child.returncode is not None else self._child.pid

    async def call(
        self,
        request: msgspec.Struct,
        answer: type[T],
        *,
        seconds: float | None,
        report: Callable[[float], None] | None = None,
        pieces: Callable[[str], None] | None = None,
    ) -> T:
        """The child's answer, 64 MiB at most. `report` gets the progress, 0 to 1; `pieces` gets the text that
        the child sends meanwhile.

        Raises Refusal when the child refuses, SubworkerTimeout after `seconds` (None: no limit),
        SubworkerDied when the child ends or its answer cannot be read, and OSError when the disk has no room
        for a new file that the request names.
        """
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
            try:
                async with asyncio.timeout(seconds):
                    reply = await self._exchange(await self._started(), request, answer, report, pieces)
            except TimeoutError:
                await self._end()
                raise SubworkerTimeout(f"not done after {seconds} s") from None
            except (BrokenPipeError, ConnectionResetError, asyncio.IncompleteReadError):
                raise SubworkerDied(await self._last_words()) from None
            except msgspec.MsgspecError as error:
                await self._end()
                raise SubworkerDied(f"it answered nonsense: {error}") from None
            except BaseException:  # no caller waits for the work any more, so it need not go on
                await self._end()
                raise
            self._rest()
        if isinstance(reply, RefusalFrame):
            raise Refusal(reply.code, reply.message, reply.remedy)
        return reply

    def pause(self) -> None:
        """Stop the child wherever it is, until `resume`: it keeps its memory and takes no processor time."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused child go on."""
        self._signal(signal.SIGCONT)

    def interrupt(self) -> None:
        """Ask the child, by SIGUSR1, to answer its present request early. A child that has no handler for the
        signal ends."""
        self._signal(signal.SIGUSR1)

    async def close(self) -> None:
        """End the child. A call that waits for its answer raises SubworkerDied."""
        if self._idle is not None:
            self._idle.cancel()
        if self._leaving is not None:
            await asyncio.wait({self._leaving})
        await self._end()

    def _signal(self, which: signal.Signals) -> None:
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(which)

    async def _started(self) -> PipedChild:
        if self._child is not None and self._child.returncode is None:
            return self._child
        await self._end()
        self._said.clear()
        self._files, theirs = socket.socketpair()
        self._files.setblocking(False)  # a child that receives no files must not block the event loop
        with theirs:
            self._child = self._begin(theirs.fileno())
        child = self._child
        await child.connected()
        self._listening = asyncio.create_task(self._listen(child.stderr))
        return child

    def _begin(self, files: int) -> PipedChild:
        program = ChildProgram(
            module=self._module,
            arguments=list(self._arguments),
            memory_bytes=self._memory_bytes,
            reads=self._reads,
        )
        # A trusted child keeps our rights, and needs none beyond them.
        spawner = None if self._reads is None else WorkerProcess.spawner
        if spawner is None:
            return PipedChild(
                lambda streams, errors: DirectChild(start_program(program, streams, errors, files))
            )
        return PipedChild(lambda streams, errors: spawner.start(program, streams, errors, files))

    async def _exchange(
        self,
        child: PipedChild,
        request: msgspec.Struct,
        answer: type[T],
        report: Callable[[float], None] | None,
        pieces: Callable[[str], None] | None,
    ) -> T | RefusalFrame:
        if self._files is None:
            raise BrokenPipeError
        body, sent = msgspec.msgpack.encode(request), _hand_over(self._files, request)
        child.stdin.write(HEAD.pack(len(body), sent) + body)
        await child.stdin.drain()
        while True:
            length, kind = HEAD.unpack(await child.stdout.readexactly(HEAD.size))
            if length > _LARGEST_ANSWER:
                raise msgspec.DecodeError(f"{length} bytes are too many")
            body = await child.stdout.readexactly(length)
            if kind != PROGRESS:
                return msgspec.msgpack.decode(body, type=RefusalFrame if kind == REFUSAL else answer)
            if pieces is not None and isinstance(
                piece := msgspec.msgpack.decode(body, type=float | str), str
            ):
                pieces(piece)
                continue
            done = msgspec.msgpack.decode(body, type=float)
            if report is not None:
                report(done)

    async def _listen(self, stderr: asyncio.StreamReader) -> None:
        """Keep the end of the libraries' output, for the log in case the child dies."""
        while piece := await stderr.read(4096):
            self._said.append(piece.decode(errors="replace").strip())

    async def _last_words(self) -> str:
        child, listening = self._child, self._listening
        if child is None:
            return "it was ended"
        await _ended(child)
        if child.returncode is None:
            await self._end()
            return "it hung up"
        if listening is not None:
            await asyncio.wait({listening}, timeout=1)
        code = child.returncode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit {code}"
        _log.warning("subworker.died", how=how, said="\n".join(self._said)[-2000:])
        await self._end()
        return how

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.send_signal(signal.SIGKILL)
            await _ended(child)
            await child.close()
        if self._files is not None:
            self._files.close()
            self._files = None
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None

    def _rest(self) -> None:
        if self._idle_seconds is None:
            return

        def leave() -> None:
            if not self._turn.locked():
                self._leaving = asyncio.create_task(self.renew())

        self._idle = asyncio.get_running_loop().call_later(self._idle_seconds, leave)

    async def renew(self, reads: Sequence[Path] | None = None) -> None:
        """End the child after its present call; the next child may read `reads` (None: as before)."""
        async with self._turn:  # a call that comes now waits, and starts another child
            await self._end()
            if reads is not None:
                self._reads = [str(each) for each in reads]


def _hand_over(channel: socket.socket, request: msgspec.Struct) -> int:
    """Opens the files of a request and sends them, each with its path; returns their number.

    A file that cannot be opened is left out, so the child gets the error when it opens the file itself.
    Raises OSError when the disk has no room for a new file, because the child could not detect that;
    BrokenPipeError when the child receives no files.
    """
    sent = 0
    for path, flags in request.files() if isinstance(request, NamesFiles) else ():
        try:
            opened = os.open(path, flags | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if is_disk_full(error):
                raise
            continue
        try:
            name = os.fsencode(path)
            message = struct.pack(">I", len(name)) + name
            if socket.send_fds(channel, [message], [opened]) < len(message):
                raise BrokenPipeError
        except BlockingIOError:
            raise BrokenPipeError from None
        finally:
            os.close(opened)
        sent += 1
    return sent


async def _ended(child: PipedChild) -> None:
    """Wait a little for a child that ends."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_SECONDS):
            await child.wait()
