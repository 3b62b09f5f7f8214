"""Does claimed steps: reads the input of a step, runs its stage (stages.py), and returns the result.

The runner writes the result to the database. Results are stored per piece, so that a killed worker loses only
the piece that it was working on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import structlog

from lapel.foundation.outbound.policy import OutboundPolicy
from lapel.foundation.timed_warnings import warnings_in
from lapel.slices.providers.service import engine_of
from lapel.slices.recordings.service import audio_of
from lapel.slices.transcription import fact_queries, queries
from lapel.slices.transcription.copies.remote_copies import remember_for
from lapel.slices.transcription.providers.protocol import Wish
from lapel.slices.transcription.providers.transcribers import speech_choice, speech_engine, transcriber
from lapel.slices.transcription.requests.daily_audio import DailyAudio
from lapel.slices.transcription.speech.failures import OF_AUDIO, Gone, SpeechError
from lapel.slices.transcription.speech.messages import Heard, Voices
from lapel.slices.transcription.views import stored_segments
from lapel.slices.transcription.work import lifecycle
from lapel.slices.transcription.work.progress import Progress
from lapel.slices.transcription.work.stages import Plan, Step

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.providers.service import Engine, SlotChoice, SpeechEngine
    from lapel.slices.recordings.service import Audio
    from lapel.slices.transcription.audio.audio_facts import AudioFacts
    from lapel.slices.transcription.payloads import Lane, Stage
    from lapel.slices.transcription.rows import ClaimRow, TranscriptRow
    from lapel.slices.transcription.work.tools import WorkerStages

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)
_decode_heard = msgspec.json.Decoder(Heard).decode
_decode_voices = msgspec.msgpack.Decoder(Voices).decode


@dataclass(frozen=True, slots=True)
class Next:
    """The step that follows. `piece`: index of its piece. `engine`: transcribes all pieces."""

    lane: Lane
    stage: Stage
    piece: int = 0
    engine: SpeechEngine | None = None

    @property
    def reads_audio(self) -> bool:
        """Whether the step needs the audio again."""
        return self.stage in ("transcribe", "diarize")


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a step. `write`: writes the result, in the transaction that ends the step. `next`: the step
    that follows; None after the last step."""

    write: Callable[[Connection], Awaitable[None]]
    next: Next | None
    # Called in that transaction, after `write`. Returns whether `next` may follow; if not, it has written the
    # failure.
    admit: Callable[[Connection], Awaitable[bool]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """A step of a transcription with all its inputs."""

    claim: ClaimRow
    audio: Audio
    transcription: TranscriptRow
    choice: SlotChoice
    plan: Plan

    @property
    def transcription_id(self) -> str:
        """The transcription's id."""
        return self.transcription.id

    def after(self, count: int) -> Next | None:
        """The step that follows this one; None at the end. `count`: how many pieces are transcribed."""
        done = self.claim.stage
        step = self.plan.after(Step(done, self.claim.piece), count)
        if step is None:
            return None
        lane: Lane = "inference"
        if step.stage == "transcribe":
            lane = _lane(self.choice.engine)
        elif step.stage == "finish" and done != "diarize":  # no voices to group
            lane = "io"
        return Next(lane, step.stage, step.piece, self.claim.engine)


def _lane(engine: Engine) -> Lane:
    """The lane of transcribe steps."""
    return "inference" if engine == "local" else "io"


class Steps:
    """Does claimed steps."""

    def __init__(
        self, ports: Ports, stages: WorkerStages, on_complete: Sequence[lifecycle.OnComplete] = ()
    ) -> None:
        """`on_complete`: hooks, called in the transaction that completes a transcription."""
        self._on_complete = on_complete
        self._ports = ports
        self._stages = stages
        self._daily_audio = DailyAudio(ports.settings.transcription_hours_per_day)

    async def do(self, claim: ClaimRow, tell: Callable[[float], None]) -> Ending:
        """Do a claimed step. `tell` is called with the progress of the whole transcription, 0 to 1.

        Raises SpeechError when another try cannot help, and TryAgain when another try may help. Raises
        TurnOver when the turn of a decode has ended, Gone when the recording is deleted, StoreUnavailable
        when the store is away, Unavailable when the database is away, and OSError when the scratch disk is
        full or fails.
        """
        if claim.stage == "probe":
            return await self._probe(claim)
        task = await self._look(claim)
        progress = Progress(lambda _, done: tell(done), diarization=task.plan.diarizes)
        if claim.stage == "transcribe":
            return await self._transcribe(task, progress)
        if claim.stage == "diarize":
            return await self._diarize(task, progress)
        return await self._finish(task)

    async def _probe(self, claim: ClaimRow) -> Ending:
        world_id, transcribed = claim.world_id, claim.transcription_id is not None
        async with self._ports.database.acquire() as connection:
            audio = await audio_of(connection, world_id, claim.recording_id, claim.media_id)
            known = await fact_queries.read(connection, world_id, claim.media_id)
        if audio is None:
            raise Gone
        fault = None if known is None else known.error_code
        if known is not None and fault is not None and fault in OF_AUDIO:
            raise SpeechError(fault, known.error_message or "")
        facts: AudioFacts | None = None
        if known is not None and known.duration_ms is not None and known.warnings is not None:
            duration_ms = known.duration_ms
        else:
            facts = await self._stages.probe(audio, keep_samples=transcribed)
            duration_ms = facts.duration_ms
            if facts.mime_type != audio.content_type:  # download links serve the declared, signed type
                found = {"declared": audio.content_type, "found": facts.mime_type}
                _log.warning("speech.other_type", recording=claim.recording_id, **found)

        async def write(connection: Connection) -> None:
            if facts is not None:
                now = self._ports.clock.now()
                await lifecycle.write_facts(connection, audio, facts, now)

        if claim.transcription_id is None:
            return Ending(write, None)
        transcription_id = claim.transcription_id
        async with self._ports.database.acquire() as connection:
            row = await queries.read(connection, world_id, claim.transcription_id, None)
            if row is None:
                raise Gone
            # The key is read in the next step, because a fault of the key is no fault of the audio.
            named = await engine_of(connection, world_id, row.provider)
        engine = speech_engine(named)

        async def admit(connection: Connection) -> bool:
            now = self._ports.clock.now()
            if await self._daily_audio.take_for(connection, world_id, transcription_id, duration_ms, now):
                return True
            why = self._daily_audio.refusal(now)
            await lifecycle.fail(connection, self._ports, world_id, transcription_id, "processing_error", why)
            return False

        return Ending(write, Next(_lane(engine), "transcribe", 0, engine), admit)

    async def _look(self, claim: ClaimRow) -> _Task:
        world_id = claim.world_id
        async with self._ports.database.acquire() as connection:
            audio = await audio_of(connection, world_id, claim.recording_id, claim.media_id)
            row = await queries.read(connection, world_id, claim.transcription_id or "", None)
            facts = await fact_queries.read(connection, world_id, claim.media_id)
            if audio is None or row is None or facts is None or facts.duration_ms is None:
                raise Gone
            choice = await speech_choice(connection, self._ports.sealer, world_id, row.provider)
        return _Task(
            claim=claim,
            audio=audio,
            transcription=row,
            choice=choice,
            plan=Plan(
                wish=Wish(
                    language=row.language_asked,
                    languages=tuple(row.languages_asked or ()),
                    diarization=row.diarization,
                    num_speakers=row.num_speakers,
                ),
                transcriber=transcriber(
                    choice,
                    local=self._stages.local,
                    clock=self._ports.clock,
                    policy=OutboundPolicy.of(self._ports.settings),
                    remember=remember_for(self._ports, claim, choice),
                ),
                cuts=list(pairwise(facts.cuts or ())),
                duration_ms=facts.duration_ms,
                gaps=facts.gaps or (),
                warnings=warnings_in(facts.warnings),
            ),
        )

    async def _transcribe(self, task: _Task, progress: Progress) -> Ending:
        claim, plan, index = task.claim, task.plan, task.claim.piece
        if claim.engine != task.choice.engine:
            return self._anew(task)

        async def earlier(piece: int) -> Heard | None:
            async with self._ports.database.acquire() as connection:
                of = (connection, claim.world_id, task.transcription_id, "transcribe")
                kept = await queries.read_piece(*of, piece)
            return None if kept is None else _decode_heard(kept)

        wish = await plan.wish_for(index, earlier)
        report = plan.reporter(progress, index)
        heard = await self._stages.transcribe(task.audio, plan.pieces[index], plan.transcriber, wish, report)

        async def write(connection: Connection) -> None:
            kept = msgspec.json.encode(heard)
            await queries.put_piece(
                connection, claim.world_id, task.transcription_id, "transcribe", index, kept
            )
            if task.transcription.language is None and heard.language is not None:
                await queries.set_language(
                    connection,
                    claim.world_id,
                    task.transcription_id,
                    heard.language,
                    heard.language_probability,
                    heard.model,
                )

        return Ending(write, task.after(len(plan.pieces)))

    def _anew(self, task: _Task) -> Ending:
        """Begin again with the first piece, because another engine answers the slot now.

        The results of both engines would not fit together.
        """

        async def write(connection: Connection) -> None:
            await queries.delete_pieces(connection, task.claim.world_id, task.transcription_id)

        engine = speech_engine(task.choice.engine)
        return Ending(write, Next(_lane(engine), "transcribe", 0, engine))

    async def _diarize(self, task: _Task, progress: Progress) -> Ending:
        claim, index = task.claim, task.claim.piece
        async with self._ports.database.acquire() as connection:
            of = (connection, claim.world_id, task.transcription_id, "transcribe")
            heard, count = await queries.read_piece(*of, index), await queries.count_pieces(*of)
        if heard is None:
            raise Gone
        progress("diarize", index / count)
        voices = await self._stages.diarize(
            task.audio,
            _decode_heard(heard),
            lambda error: self._leave_out(claim, error),
        )

        async def write(connection: Connection) -> None:
            kept = msgspec.msgpack.encode(voices)
            await queries.put_piece(connection, claim.world_id, task.transcription_id, "diarize", index, kept)

        return Ending(write, task.after(count))

    def _leave_out(self, claim: ClaimRow, error: SpeechError) -> str:
        _log.warning("speech.speakers_left_out", work=claim.id, error=error.message)
        return error.told

    async def _finish(self, task: _Task) -> Ending:
        claim = task.claim
        async with self._ports.database.acquire() as connection:
            of = (connection, claim.world_id, task.transcription_id)
            heard = [_decode_heard(each) for each in await queries.read_pieces(*of, "transcribe")]
            voices = [_decode_voices(each) for each in await queries.read_pieces(*of, "diarize")]
        transcript = await self._stages.finish(task.plan, heard, voices)
        segments = stored_segments(transcript.segments)

        async def write(connection: Connection) -> None:
            ended = (claim.world_id, task.transcription_id, transcript, segments)
            await lifecycle.complete(connection, self._ports, *ended, hooks=self._on_complete)

        return Ending(write, None)
