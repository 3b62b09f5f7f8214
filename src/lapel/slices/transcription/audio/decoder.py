"""The parent's side of decoding: child processes that take turns.

Time, memory, disk and the number of processes have bounds.

The parent ends a turn with SIGSTOP and begins the next one with SIGCONT (POSIX.1, `signal.h`). So the child
needs no code for turns. docs/decisions/0014 says what the parent accepts from a child that reads hostile
files.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING, NoReturn, cast

from lapel.foundation.workers.worker_child import Refusal
from lapel.foundation.workers.worker_process import SubworkerDied, WorkerProcess
from lapel.slices.transcription.audio.audio_facts import AudioFacts
from lapel.slices.transcription.audio.decoder_messages import DISK, DISK_FULL, Decode
from lapel.slices.transcription.speech.at_audio import at_audio
from lapel.slices.transcription.speech.failures import Code, DiskFull, SpeechError, TryAgain, TurnOver

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1024 * 1024

# Limit on the address space of a child. Opus needs 220 MiB (65 MiB resident), for a minute or for a day. The
# genuine file that was found to need most is 24 hours of AAC at 48 kHz in an MP4: its index needs 564 MiB
# (358 MiB resident).
_MEMORY_BYTES = 1024 * MIB
# A day of Opus takes a minute of one core. Machines may be five times slower, and busy with other work.
_SECONDS = 1_200.0
# An idle child ends after this time: it holds 65 MiB, and a new child starts in a third of a second.
_IDLE_SECONDS = 60.0
_START_SECONDS = 60.0
# Wait before a retry after a disk fault: an operator has to act first.
_DISK_SECONDS = 60.0
# Interval at which the files of paused decodes are checked for existence.
_LOOK_SECONDS = 0.5
# Signals of a crash in the decoder's own code: the file caused the crash, and would cause it again.
_CRASHES = frozenset({"SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS"})


class _UnderWay:
    """A decode in its own child process. `used`: seconds that the child has worked on it."""

    def __init__(
        self, child: WorkerProcess, request: Decode, file: Path, pcm: Path | None, owner: int
    ) -> None:
        self.child = child
        self.file = file
        self.pcm = pcm
        self.owner = owner
        self.used = 0.0
        self.ending: asyncio.Task[None] | None = None
        self._begun = asyncio.Event()
        self.call = asyncio.create_task(
            child.call(request, AudioFacts, seconds=None, report=lambda _: self._begun.set()), name="decode"
        )

    async def work(self, seconds: float) -> None:
        """Wait until the call has ended or has run for `seconds` more. The child's start does not count."""
        begun = asyncio.create_task(self._begun.wait())
        try:
            await asyncio.wait(
                {begun, self.call}, timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            since = time.monotonic()
            await asyncio.wait({self.call}, timeout=seconds)
            self.used += time.monotonic() - since
        finally:
            begun.cancel()

    async def end(self) -> None:
        """End the child, and remove the samples that it wrote."""
        self.call.cancel()  # this ends the child
        await asyncio.gather(self.call, return_exceptions=True)
        if self.pcm is not None:  # in a thread, because freeing gigabytes takes a while
            await asyncio.to_thread(_remove, self.pcm)


class Decoder:
    """Decodes at most `children` files at a time; further calls wait.

    A decode that takes longer than `turn_seconds` is paused: its process is stopped, and continues when
    `decode` is called for the same file again. At most `seats` decodes are paused at a time. If all
    seats are taken, a decode takes a seat from an owner with at least two seats more than its own owner. If
    there is no such owner, the decode is dropped and has to begin anew.

    `max_hours`: longer audio is refused, and so is audio with more samples than `max_hours` of stereo at
    48 kHz. `spare_bytes`: bytes that must stay free on the disk of the samples. `memory_bytes`: limit on the
    address space of one child. `seconds`: limit for one file over all turns. This limit does not grow with
    the file's size, because anyone can make a file larger with padding. `turn_seconds`: None disables turns.
    """

    def __init__(
        self,
        *,
        children: int = 2,
        seats: int = 6,
        max_hours: float = 24,
        spare_bytes: int = 512 * MIB,
        memory_bytes: int = _MEMORY_BYTES,
        seconds: float = _SECONDS,
        turn_seconds: float | None = None,
    ) -> None:
        self._max_seconds = max_hours * 3600
        self._spare_bytes = spare_bytes
        self._seconds = seconds
        self._turn_seconds = seconds if turn_seconds is None else turn_seconds
        self._seats = 0 if turn_seconds is None else seats
        self._children = [
            WorkerProcess(
                "lapel.slices.transcription.audio.decoder_child",
                memory_bytes=memory_bytes,
                idle_seconds=_IDLE_SECONDS,
            )
            for _ in range(children + self._seats)
        ]
        self._running = asyncio.Semaphore(children)
        # A stack: the child used last is taken first, so that the other children stay idle and end.
        self._free = list(self._children)
        self._paused: dict[tuple[Path, Path | None], _UnderWay] = {}
        self._ending: dict[tuple[Path, Path | None], asyncio.Task[None]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """Process ids of the running children."""
        return [child.pid for child in self._children if child.pid is not None]

    async def decode(
        self, file: Path, *, declared: str, pcm: Path | None = None, owner: int = 0
    ) -> AudioFacts:
        """Decode a file and return its properties. Its samples are written to the file `pcm`, if given.

        Samples: 16 kHz, mono, signed 16-bit little-endian. `declared`: the content type that the uploader
        named. It is kept if it is one of the types that fit. `owner`: id of the file's world. If the decode
        fails or is cancelled, `pcm` is removed.

        Raises TurnOver when the turn has ended: call again. Raises SpeechError when another try cannot help,
        with one of these codes:

        - `audio_too_short`.
        - `audio_corrupt`, also when decoding takes too much time or memory, or when the file yields more
          audio than its bytes can hold.
        - `unsupported_format`, also for a file without audio.
        - `processing_error`, for audio that is too long or has too many samples.

        Raises DiskFull when the disk of `pcm` is full, and OSError when this disk has no room for a new file.
        Raises TryAgain when the disk fails otherwise, when the child was killed, or after `aclose`. Raises
        what `at_audio` raises.
        """
        async with self._running:
            if self._closed:
                raise TryAgain("processing_error", "Audio is not decoded any more: we are shutting down.")
            if (file, pcm) in self._ending:  # else the old decode would remove `pcm` while this one writes it
                await asyncio.shield(self._ending[file, pcm])
            under_way = self._paused.pop((file, pcm), None)
            if under_way is None:
                request = Decode(
                    file=str(file),
                    pcm=None if pcm is None else str(pcm),
                    declared=declared,
                    max_seconds=self._max_seconds,
                    spare_bytes=self._spare_bytes,
                )
                under_way = _UnderWay(self._free.pop(), request, file, pcm, owner)
            try:
                async with at_audio():
                    under_way.child.resume()
                    await under_way.work(min(self._turn_seconds, self._seconds - under_way.used))
                if under_way.call.done():
                    facts = self._result(under_way)
                    self._free.append(under_way.child)
                    return facts
                await self._pause(under_way)
            except BaseException:
                await self._drop(under_way)
                raise
        raise TurnOver(kept=(file, pcm) in self._paused)

    async def forget(self, file: Path) -> None:
        """End the paused decodes of a file that is about to be removed, because they hold it open."""
        await self._drop_all([key for key in self._paused if key[0] == file])
        ending = [task for key, task in self._ending.items() if key[0] == file]
        await asyncio.shield(asyncio.gather(*ending))

    async def aclose(self) -> None:
        """End the children. Calls of `decode` that still wait raise TryAgain."""
        self._closed = True
        await asyncio.gather(*(child.close() for child in self._children))
        await self._drop_all([*self._paused])
        await asyncio.gather(*self._ending.values())
        if self._looking is not None:
            await self._looking

    async def _pause(self, under_way: _UnderWay) -> None:
        """Keep the decode for its next turn if a seat is free or can be freed, else drop the decode.

        Raises SpeechError `audio_corrupt` when the decode has used all its time.
        """
        if under_way.used >= self._seconds:
            raise SpeechError(
                "audio_corrupt",
                f"Decoding this file took longer than {self._seconds:.0f} s; it is damaged or made up.",
            )
        under_way.child.pause()
        crowd = self._crowd(under_way.owner)
        if len(self._paused) >= self._seats:
            if crowd is None:
                await self._drop(under_way)
                return
            await self._drop(self._paused.pop(crowd))
        self._paused[under_way.file, under_way.pcm] = under_way
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="decoder-look")

    def _crowd(self, owner: int) -> tuple[Path, Path | None] | None:
        """The newest paused decode of an owner that has at least two more of them than `owner`.

        None if there is no such owner. An owner's only seat is never taken, because otherwise none of many
        long files would ever be decoded to its end.
        """
        held = Counter(each.owner for each in self._paused.values())
        crowded = [key for key, each in self._paused.items() if held[each.owner] >= held[owner] + 2]
        return crowded[-1] if crowded else None

    async def _drop(self, under_way: _UnderWay) -> None:
        """End the decode, even if the caller is cancelled meanwhile.

        The child counts as free at once, so that only running and paused decodes use up children. A new call
        of this child waits until the old call has ended.
        """
        if under_way.ending is None:
            key = (under_way.file, under_way.pcm)
            under_way.ending = self._ending[key] = asyncio.create_task(under_way.end(), name="decode-end")
            under_way.ending.add_done_callback(lambda _: self._ending.pop(key))
            self._free.append(under_way.child)
        await asyncio.shield(under_way.ending)

    async def _drop_all(self, keys: list[tuple[Path, Path | None]]) -> None:
        # All are popped before the first await. During an await, a paused decode may continue or be dropped.
        await asyncio.gather(*[self._drop(self._paused.pop(key)) for key in keys])

    async def _look(self) -> None:
        """Drop paused decodes whose file was removed without `forget`, for example by a cleaner of /tmp."""
        while self._paused:
            await asyncio.sleep(_LOOK_SECONDS)
            await self._drop_all([key for key in self._paused if not key[0].exists()])

    def _result(self, under_way: _UnderWay) -> AudioFacts:
        try:
            return under_way.call.result()
        except Refusal as refusal:
            _pass_on(refusal)
        except SubworkerDied as died:
            if str(died) in _CRASHES:
                raise SpeechError("audio_corrupt", "Decoding this file fails; it is damaged.") from None
            raise TryAgain("processing_error", f"The decoder ended in mid-work ({died}).") from None


def _pass_on(refusal: Refusal) -> NoReturn:
    if refusal.code == DISK_FULL:
        raise DiskFull(refusal.message) from None
    if refusal.code == DISK:
        raise TryAgain("processing_error", refusal.message, after=_DISK_SECONDS) from None
    raise SpeechError(cast("Code", refusal.code), refusal.message) from None


def _remove(pcm: Path) -> None:
    with contextlib.suppress(OSError):
        pcm.unlink()
