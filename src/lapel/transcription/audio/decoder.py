"""Decoding, seen from the process that asks for it: bounded in time, memory, disk and number."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NoReturn, cast

from lapel.foundation.subworker import Refusal, Subworker, SubworkerDied, SubworkerTimeout
from lapel.transcription.audio.facts import AudioFacts
from lapel.transcription.audio.messages import Decode
from lapel.transcription.failures import Code, SpeechError, TryAgain

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1024 * 1024

# Address space of a child: 220 MiB for a minute or a day of Opus (65 MiB resident). The largest honest file
# that was found is 24 hours of AAC in an MP4 at 48 kHz, whose index makes it 564 MiB (358 MiB resident).
_MEMORY_BYTES = 1024 * MIB
# A day of Opus takes a minute of one core. Machines may be five times slower, and busy with other work.
_SECONDS = 1_200.0
# A child holds 65 MiB and starts in a third of a second.
_IDLE_SECONDS = 60.0
# Somebody must make room first, or another's samples must go.
_DISK_SECONDS = 60.0
# How a process ends by a fault of its own code: the file found it, and would find it again.
_CRASHES = frozenset({"SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS"})


class Decoder:
    """Decodes files, `children` at a time; others wait their turn.

    `max_hours`: longer audio is refused, and so is audio with more samples than so many hours of stereo at
    48 kHz have. `spare_bytes`: what must stay free on the disk that takes samples. `seconds`: how long a file
    may take, whatever its size, which says nothing: padding is free.
    """

    def __init__(
        self,
        *,
        children: int = 2,
        max_hours: float = 24,
        spare_bytes: int = 512 * MIB,
        memory_bytes: int = _MEMORY_BYTES,
        seconds: float = _SECONDS,
    ) -> None:
        self._max_seconds = max_hours * 3600
        self._spare_bytes = spare_bytes
        self._seconds = seconds
        self._children = [
            Subworker(
                "lapel.transcription.audio.child", memory_bytes=memory_bytes, idle_seconds=_IDLE_SECONDS
            )
            for _ in range(children)
        ]
        # Last in, first out: the others may rest.
        self._free: asyncio.LifoQueue[Subworker] = asyncio.LifoQueue()
        for child in self._children:
            self._free.put_nowait(child)
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """Process ids of the children that run."""
        return [child.pid for child in self._children if child.pid is not None]

    async def decode(self, file: Path, *, declared: str, pcm: Path | None = None) -> AudioFacts:
        """What is true of a file. Its samples go to `pcm`: 16 kHz, mono, signed 16-bit little-endian.

        `declared`: the content type that the uploader named, kept where it is one of several true ones.
        When this fails or is cancelled, `pcm` is gone.

        Raises SpeechError for good: `audio_too_short`, `audio_corrupt` (also when it would take too much
        time or memory, or holds more audio than its bytes can), `unsupported_format` (no audio in it, too),
        `processing_error` (too long, or too many samples); TryAgain when the disk is full or the child was
        killed.
        """
        request = Decode(
            file=str(file),
            pcm=None if pcm is None else str(pcm),
            declared=declared,
            max_seconds=self._max_seconds,
            spare_bytes=self._spare_bytes,
        )
        child = await self._free.get()
        try:
            return await self._asked(child, request)
        except BaseException:
            if pcm is not None:  # in a thread: freeing gigabytes takes a while
                await asyncio.to_thread(_remove, pcm)
            raise
        finally:
            self._free.put_nowait(child)

    async def aclose(self) -> None:
        """End the children; whoever still waits for one hears TryAgain."""
        self._closed = True
        await asyncio.gather(*(child.close() for child in self._children))

    async def _asked(self, child: Subworker, request: Decode) -> AudioFacts:
        if self._closed:
            raise TryAgain("processing_error", "Audio is not decoded any more: we are shutting down.")
        try:
            return await child.call(request, AudioFacts, seconds=self._seconds)
        except Refusal as refusal:
            _pass_on(refusal)
        except SubworkerTimeout:
            raise SpeechError(
                "audio_corrupt",
                f"Decoding this file took longer than {self._seconds:.0f} s; it is damaged or made up.",
            ) from None
        except SubworkerDied as died:
            if str(died) in _CRASHES:
                raise SpeechError("audio_corrupt", "Decoding this file fails; it is damaged.") from None
            raise TryAgain("processing_error", f"The decoder ended in mid-work ({died}).") from None


def _pass_on(refusal: Refusal) -> NoReturn:
    if refusal.code == "disk":
        raise TryAgain("processing_error", refusal.message, after=_DISK_SECONDS) from None
    raise SpeechError(cast("Code", refusal.code), refusal.message) from None


def _remove(pcm: Path) -> None:
    with contextlib.suppress(OSError):
        pcm.unlink()
