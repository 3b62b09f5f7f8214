"""The stages of a transcription: what each stage does with an audio, and which step follows.

probe → transcribe, piece by piece → diarize, piece by piece → finish. A worker does one step at a time, and
keeps the results in the database (steps.py). The command line does all steps of a file in a row, and keeps
the results in memory (offline.py).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from lapel.foundation.timed_warnings import TimedWarning
from lapel.slices.transcription.providers.protocol import Clip, Transcriber, Wish
from lapel.slices.transcription.speech.assembly import Piece, assemble, settled_language
from lapel.slices.transcription.speech.doubt_warnings import doubt_warnings
from lapel.slices.transcription.speech.failures import SpeechError
from lapel.slices.transcription.speech.messages import Describe, Group, Groups, Heard, Voices
from lapel.slices.transcription.work.progress import share_of_audio

if TYPE_CHECKING:
    from lapel.slices.transcription.audio.audio_facts import AudioFacts
    from lapel.slices.transcription.audio.decoder import Decoder
    from lapel.slices.transcription.payloads import Stage
    from lapel.slices.transcription.speech.transcript import Transcript
    from lapel.slices.transcription.work.progress import Progress

Report: TypeAlias = Callable[[float], None]
# Reads the result of an earlier piece; None when it is not stored.
Earlier: TypeAlias = Callable[[int], Awaitable[Heard | None]]


class VoiceEngine(Protocol):
    """Embeds and clusters voices. `Engine` in models/process/engine_client.py implements it."""

    async def describe(self, request: Describe, /) -> Voices:
        """Embed the voices in some stretches. Raises SpeechError, TryAgain."""
        ...

    async def group(self, request: Group, /) -> Groups:
        """Cluster the voices. Raises SpeechError, TryAgain."""
        ...


class SourceAudio(Protocol):
    """An audio to open. `content_type`: the declared type. `world_id`: the owner, because the decoder gives
    each world its share of turns."""

    @property
    def content_type(self) -> str: ...
    @property
    def world_id(self) -> int: ...


class AudioPlace(Protocol):
    """An audio on this machine's disk. `file`: as it was recorded. `pcm`: its samples, once they are decoded.

    `facts`: what the decoding of these samples found, if it is known. `lock` is held during the decoding.
    """

    @property
    def file(self) -> Path: ...
    @property
    def pcm(self) -> Path: ...
    @property
    def lock(self) -> asyncio.Lock: ...
    @property
    def facts(self) -> AudioFacts | None: ...

    def set_decoded(self, facts: AudioFacts, /) -> None:
        """Called in a thread when `pcm` has all samples."""
        ...


A = TypeVar("A", bound=SourceAudio)


class Step(NamedTuple):
    """One stage of the whole audio, or of one piece. `piece`: the index of the piece."""

    stage: Stage
    piece: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one probed audio is transcribed. `cuts`: the audio's pieces, as the probe found them. `gaps`: the
    times at which audio is missing, in milliseconds. `warnings`: about the audio."""

    wish: Wish
    transcriber: Transcriber
    cuts: Sequence[Piece]
    duration_ms: int
    gaps: Sequence[int] = ()
    warnings: Sequence[TimedWarning] = ()

    @property
    def pieces(self) -> Sequence[Piece]:
        """The parts that are transcribed one after the other."""
        return self.cuts if self.transcriber.piecewise else [(0, self.duration_ms)]

    @property
    def diarizes(self) -> bool:
        """Whether the local models diarize: diarization is requested, and the provider does not do it."""
        return self.wish.diarization and not self.transcriber.tells_speakers

    def pieces_of(self, count: int) -> Sequence[Piece]:
        """The parts that `count` stored results belong to.

        `pieces` may be different parts, because the slot's engine may have changed since the results were
        stored.
        """
        return self.cuts if count > 1 else [(0, self.duration_ms)]

    def after(self, done: Step, count: int) -> Step | None:
        """The step that follows; None at the end. `count`: how many pieces are transcribed."""
        if done.stage == "probe":
            return Step("transcribe")
        if done.stage in ("transcribe", "diarize") and done.piece + 1 < count:
            return Step(done.stage, done.piece + 1)
        if done.stage == "transcribe" and self.diarizes:
            return Step("diarize")
        return None if done.stage == "finish" else Step("finish")

    async def wish_for(self, piece: int, earlier: Earlier) -> Wish:
        """The options for a piece.

        The language is the requested one. If none is requested, it is the language of the first earlier piece
        whose language was clear, else None. For a provider that tells languages, that is only the likely
        language.

        The results of earlier pieces are read one at a time, because usually the first one decides. Reading
        all of them in each step would mean many megabytes for a recording of a day. Raises what `earlier`
        raises.
        """
        if self.wish.language is not None:
            return self.wish
        settled = None
        for index in range(piece):
            heard = await earlier(index)
            settled = None if heard is None else settled_language([heard])
            if settled is not None:
                break
        if self.transcriber.tells_languages:
            return msgspec.structs.replace(self.wish, likely_language=settled)
        return msgspec.structs.replace(self.wish, language=settled)

    def reporter(self, progress: Progress, piece: int) -> Report:
        """A function that reports how much of this piece is transcribed. Its argument is 0 to 1."""
        return lambda share: progress("transcribe", share_of_audio(self.pieces, piece, share))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages(ABC, Generic[A]):
    """The four stages, with a decoder and the local models. A subclass provides the audio on this machine."""

    decoder: Decoder
    engine: VoiceEngine

    @abstractmethod
    def opened(self, audio: A) -> AbstractAsyncContextManager[AudioPlace]:
        """The audio on this machine's disk, for the duration of the block."""

    async def probe(self, audio: A, *, keep_samples: bool) -> AudioFacts:
        """Decode the audio and return its properties. `keep_samples`: write the samples, for the next step.

        The audio is not decoded again if samples and properties are here. They are if a worker was killed
        after the decoding, before the properties were stored.

        Raises SpeechError, TryAgain, TurnOver and OSError, as `Decoder.decode` does, and what `opened`
        raises.
        """
        async with self.opened(audio) as place, place.lock:
            if place.facts is not None and place.pcm.exists():
                return place.facts
            return await self._decode(audio, place, keep_samples=keep_samples)

    async def transcribe(
        self, audio: A, piece: Piece, transcriber: Transcriber, wish: Wish, report: Report
    ) -> Heard:
        """Transcribe a piece (start and end in ms). `report` is called with the progress, 0 to 1.

        Raises what `Transcriber.transcribe`, `Decoder.decode` and `opened` raise.
        """
        async with self.opened(audio) as place:
            if transcriber.reads_samples:
                await self._decoded(audio, place)
            clip = Clip(
                file=place.file,
                content_type=audio.content_type,
                pcm=place.pcm,
                start_ms=piece[0],
                end_ms=piece[1],
            )
            return await transcriber.transcribe(clip, wish, report)

    async def diarize(self, audio: A, heard: Heard, leave_out: Callable[[SpeechError], str]) -> Voices:
        """Embed the voices of a piece. If its text has no times, the result is empty.

        If the voices cannot be embedded, `leave_out` is called and returns the reason to tell, and the text
        stays without speakers. The usual reason is that the weights of the speaker model are missing. Raises
        what `VoiceEngine.describe`, `Decoder.decode` and `opened` raise, except SpeechError.
        """
        spoken = heard.spoken if heard.timed else []
        if spoken:
            try:
                async with self.opened(audio) as place:
                    await self._decoded(audio, place)
                    return await self.engine.describe(Describe(pcm=str(place.pcm), speech=spoken))
            except SpeechError as error:
                return Voices(windows=[], embeddings=b"", left_out=leave_out(error))
        return Voices(windows=[], embeddings=b"")

    async def finish(self, plan: Plan, heard: list[Heard], voices: list[Voices]) -> Transcript:
        """Group the voices and assemble the transcript.

        Raises SpeechError and TryAgain, as `VoiceEngine.group` does.
        """
        groups = None
        if any(each.windows for each in voices):
            groups = await self.engine.group(Group(voices=voices, num_speakers=plan.wish.num_speakers))
        pieces = plan.pieces_of(len(heard))
        made = await asyncio.to_thread(
            assemble, heard, pieces, groups, duration_ms=plan.duration_ms, gaps=plan.gaps
        )
        warnings = [*plan.warnings, *_speakers_left_out(voices), *doubt_warnings(heard)]
        return msgspec.structs.replace(made, warnings=warnings)

    async def _decoded(self, audio: A, place: AudioPlace) -> None:
        """Decode the audio unless its samples are still here from an earlier step."""
        async with place.lock:
            if not place.pcm.exists():
                await self._decode(audio, place, keep_samples=True)

    async def _decode(self, audio: A, place: AudioPlace, *, keep_samples: bool) -> AudioFacts:
        """Decode for one turn. Only the last turn makes `place.pcm`, so that it always has all samples."""
        part = place.pcm.with_suffix(".part") if keep_samples else None
        facts = await self.decoder.decode(
            place.file, declared=audio.content_type, pcm=part, owner=audio.world_id
        )
        if part is not None:
            part.replace(place.pcm)
            await asyncio.to_thread(place.set_decoded, facts)
        return facts


def _speakers_left_out(voices: list[Voices]) -> list[TimedWarning]:
    """A warning for each reason why speakers are left out."""
    some = any(each.windows for each in voices)
    what = "The speakers of some parts are left out." if some else "The speakers are left out."
    reasons = dict.fromkeys(each.left_out for each in voices if each.left_out)
    return [TimedWarning(code="speakers_left_out", message=f"{what} {reason}") for reason in reasons]
