"""Work that must not block or bring down this process: a child that answers one request at a time.

`python -m MODULE` runs `answer_requests` in the child; a `Subworker` here starts it when it is first
needed and again after it died. Requests, progress and answers are frames on its pipes: length, kind,
MessagePack. A call that takes too long, or that nobody waits for any more, ends the child.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import struct
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import structlog

from lapel.foundation.processes import end_with
from lapel.settings import environment_without_ours

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from io import FileIO

    Report = Callable[[float], None]

T = TypeVar("T", bound=msgspec.Struct)

_HEAD = struct.Struct(">IB")
_PROGRESS, _ANSWER, _REFUSAL = 0, 1, 2
_STDERR_PIECES = 20
# What a child that strangers' bytes have taken over could make this process hold.
_LARGEST_ANSWER = 64 * 1024 * 1024
_LAST_SECONDS = 2.0
# For libraries: idle threads do not spin, and nothing is told to anybody. Without its word onnxruntime
# reports to its makers, and leaves files in the home and in the temporary folder.
_QUIET = {"OPENBLAS_NUM_THREADS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "ORT_DISABLE_TELEMETRY": "1"}

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class SubworkerDied(Exception):
    """The child ended in mid-work: killed, out of memory, or by a fault of the code it ran."""


class SubworkerTimeout(Exception):
    """The work took longer than it may; the child was ended."""


class Refusal(Exception):
    """The child looked at the work and refuses it, for good: `code` for programs, the message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class _Refused(msgspec.Struct, frozen=True, array_like=True):
    code: str
    message: str


class Subworker:
    """The parent's side. One call at a time; others wait their turn.

    `memory_bytes`: address space that the child may use at most (0: no bound; Linux only).
    `idle_seconds`: a child that nobody called for so long is ended, and its memory is free again.
    """

    def __init__(
        self, module: str, *arguments: str, memory_bytes: int = 0, idle_seconds: float | None = None
    ) -> None:
        self._command = [sys.executable, "-m", module, str(memory_bytes), str(os.getpid()), *arguments]
        self._idle_seconds = idle_seconds
        self._turn = asyncio.Lock()
        self._child: asyncio.subprocess.Process | None = None
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
        report: Report | None = None,
    ) -> T:
        """The child's answer, 64 MiB at most. `report` hears the progress, 0 to 1.

        Raises Refusal, SubworkerTimeout after `seconds` (None: never), SubworkerDied.
        """
        body = msgspec.msgpack.encode(request)
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
            try:
                async with asyncio.timeout(seconds):
                    reply = await self._exchange(await self._started(), body, answer, report)
            except TimeoutError:
                await self._end()
                raise SubworkerTimeout(f"not done after {seconds} s") from None
            except (BrokenPipeError, ConnectionResetError, asyncio.IncompleteReadError):
                raise SubworkerDied(await self._last_words()) from None
            except msgspec.MsgspecError as error:
                await self._end()
                raise SubworkerDied(f"it answered nonsense: {error}") from None
            except BaseException:  # nobody waits for it any more, so it need not go on
                await self._end()
                raise
            self._rest()
        if isinstance(reply, _Refused):
            raise Refusal(reply.code, reply.message)
        return reply

    def pause(self) -> None:
        """Stop the child wherever it is, until `resume`: it keeps its memory and takes no processor time."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused child go on."""
        self._signal(signal.SIGCONT)

    async def close(self) -> None:
        """End the child. A call that waits for its answer hears SubworkerDied."""
        if self._idle is not None:
            self._idle.cancel()
        if self._leaving is not None:
            await asyncio.wait({self._leaving})
        await self._end()

    def _signal(self, which: signal.Signals) -> None:
        if self._child is not None and self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(which)

    async def _started(self) -> asyncio.subprocess.Process:
        if self._child is not None and self._child.returncode is None:
            return self._child
        await self._end()
        self._said.clear()
        self._child = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment_without_ours(**_QUIET),
        )
        self._listening = asyncio.create_task(self._listen(self._child.stderr))
        return self._child

    async def _exchange(
        self, child: asyncio.subprocess.Process, request: bytes, answer: type[T], report: Report | None
    ) -> T | _Refused:
        if child.stdin is None or child.stdout is None:
            raise BrokenPipeError
        child.stdin.write(_HEAD.pack(len(request), _ANSWER) + request)
        await child.stdin.drain()
        while True:
            length, kind = _HEAD.unpack(await child.stdout.readexactly(_HEAD.size))
            if length > _LARGEST_ANSWER:
                raise msgspec.DecodeError(f"{length} bytes are too many")
            body = await child.stdout.readexactly(length)
            if kind != _PROGRESS:
                return msgspec.msgpack.decode(body, type=_Refused if kind == _REFUSAL else answer)
            done = msgspec.msgpack.decode(body, type=float)
            if report is not None:
                report(done)

    async def _listen(self, stderr: asyncio.StreamReader | None) -> None:
        """What libraries print is kept for the case that the child dies."""
        while stderr is not None and (piece := await stderr.read(4096)):
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
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await _ended(child)
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None

    def _rest(self) -> None:
        if self._idle_seconds is None:
            return

        def leave() -> None:
            if not self._turn.locked():
                self._leaving = asyncio.create_task(self._let_go())

        self._idle = asyncio.get_running_loop().call_later(self._idle_seconds, leave)

    async def _let_go(self) -> None:
        async with self._turn:  # a call that comes now waits, and starts another child
            await self._end()


async def _ended(child: asyncio.subprocess.Process) -> None:
    """Wait a little for a child that ends, and read what it left behind.

    `wait` alone may wait for ever: in some releases until all pipes are closed, which happens when their end
    is read, and nobody reads on while much waits to be looked at.
    """
    # Something that the child started may hold its pipes open, with which we have no patience.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_SECONDS):
            # The call that waited for an answer may be reading already.
            with contextlib.suppress(RuntimeError):
                while child.stdout is not None and await child.stdout.read(65_536):
                    pass
            await child.wait()


def answer_requests(
    request: Any,  # noqa: ANN401 - a struct, or a union of tagged ones, which has no common type
    handle: Callable[[Any, Report], msgspec.Struct],
    arguments: Sequence[str],
) -> None:
    """The child's side: answers until the parent is gone. `arguments`: sys.argv[1:3], from the parent."""
    memory_bytes, parent = int(arguments[0]), int(arguments[1])
    end_with(parent)
    if memory_bytes and sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    # Libraries may print; what they print must not get between the frames.
    with open(os.dup(1), "wb", buffering=0) as out, open(os.dup(0), "rb") as incoming:  # noqa: PTH123
        os.dup2(2, 1)
        decoder = msgspec.msgpack.Decoder(request)
        while head := incoming.read(_HEAD.size):
            length, _ = _HEAD.unpack(head)
            _answer(out, decoder.decode(incoming.read(length)), handle)


def _answer(out: FileIO, request: object, handle: Callable[[Any, Report], msgspec.Struct]) -> None:
    def send(kind: int, value: object) -> None:
        body = msgspec.msgpack.encode(value)
        left = memoryview(_HEAD.pack(len(body), kind) + body)
        while left:
            left = left[out.write(left) :]

    try:
        answer = handle(request, lambda done: send(_PROGRESS, done))
    except Refusal as refusal:
        send(_REFUSAL, _Refused(refusal.code, refusal.message))
    else:
        send(_ANSWER, answer)
