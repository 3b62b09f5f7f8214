"""Transcriptions: create, read and export them. Also the automatic processing of a new audio."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Conflict, NotFound
from lapel.foundation.core.file_names import clean, content_disposition
from lapel.foundation.database import audit, outbox
from lapel.foundation.http.calls import Content, Reply
from lapel.foundation.http.input.pagination import page, window
from lapel.foundation.http.large_responses import IN_PIECES
from lapel.foundation.queue import jobs
from lapel.slices.providers.service import engine_of
from lapel.slices.recordings.service import audio_of, find_audio
from lapel.slices.transcription import fact_queries, queries
from lapel.slices.transcription.audio.peaks import resample
from lapel.slices.transcription.errors import TranscriptionInProgress, TranscriptNotReady
from lapel.slices.transcription.exports import export_queries
from lapel.slices.transcription.exports.formats import FORMATS
from lapel.slices.transcription.exports.html import CONTENT_SECURITY_POLICY
from lapel.slices.transcription.exports.streaming import SLICE, StoredSegments, Turns
from lapel.slices.transcription.payloads import PROCESS, Process
from lapel.slices.transcription.reading import transcription_list_queries
from lapel.slices.transcription.reading.segment_queries import CompletedPlace, CompletedTranscription
from lapel.slices.transcription.reading.size_queries import bytes_of_transcription
from lapel.slices.transcription.reading.stored_segments import (
    completed_transcription,
    completed_transcriptions,
    language_of_transcription,
    segments_of_transcription,
)
from lapel.slices.transcription.reading.transcription_state_queries import (
    TranscriptionStateRow,
    state_of_transcription,
)
from lapel.slices.transcription.requests.daily_audio import DailyAudio
from lapel.slices.transcription.requests.daily_audio_queries import SUM_OF_DAY
from lapel.slices.transcription.requests.requested_languages import add_configured, check_known, check_tags
from lapel.slices.transcription.speech.transcript import Segment, Transcript, Word
from lapel.slices.transcription.views import document_of, segments_of, transcript_of, transcription_of
from lapel.slices.transcription.wire import TranscribeRecording, TranscriptionPage, Waveform
from lapel.slices.transcription.work import lifecycle, work_queries
from lapel.slices.transcription.work.lifecycle import OnComplete

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.configuration.service import Configuration, Document
    from lapel.slices.providers.service import SpeechSlot
    from lapel.slices.recordings.service import Audio
    from lapel.slices.transcription.exports.formats import FormatName
    from lapel.slices.transcription.wire import Transcription, TranscriptionQuery

__all__ = [
    "SUM_OF_DAY",
    "CompletedPlace",
    "CompletedTranscription",
    "OnComplete",
    "Segment",
    "Transcript",
    "TranscriptionStateRow",
    "Transcriptions",
    "Word",
    "bytes_of_transcription",
    "completed_transcription",
    "completed_transcriptions",
    "language_of_transcription",
    "segments_of_transcription",
    "state_of_transcription",
]

# A transcription that has not ended after this time may be replaced by a new one.
_PATIENCE = timedelta(minutes=10)
_DEFAULT_SLOT: SpeechSlot = "whisper"
_IDS_AT_ONCE = 500


class Transcriptions:
    """The operations on transcriptions. Methods without a `connection` parameter raise Unavailable when the
    database is away."""

    def __init__(self, ports: Ports, configuration: Configuration) -> None:
        # Hooks of other slices, called in the transaction that completes a transcription. The worker's runner
        # keeps this same list, so it also calls the hooks that app.py adds later.
        self.on_complete: Final[list[OnComplete]] = []
        self._ports = ports
        self._configuration = configuration
        self._turns = Turns()
        self._daily_audio = DailyAudio(ports.settings.transcription_hours_per_day)

    async def create(
        self, connection: Connection, actor: Actor, recording_id: str, wish: TranscribeRecording
    ) -> Transcription:
        """Create a transcription.

        If the recording has a completed transcription, that one stays current until the new one is completed.
        Otherwise the new one is current at once.

        If the request names no language, those of the configuration count.

        Raises InvalidRequest when a language is not a language tag, or when the local model would transcribe
        and does not know the language. Raises NotFound when the caller sees no such recording,
        MediaNotUploaded when the recording has no audio, and TranscriptionInProgress when a transcription
        younger than ten minutes has not ended. Raises RateLimitExceeded when the audio exceeds what is left
        of the day's hours.
        """
        now, world_id = self._ports.clock.now(), actor.world_id
        check_tags(wish)
        audio = await find_audio(connection, actor, recording_id, lock=True)
        running = await queries.find_running(connection, world_id, recording_id, now - _PATIENCE)
        if running is not None:
            raise TranscriptionInProgress(
                "This recording is being transcribed. Wait for its end, or ask again after ten minutes.",
                resource_id=running,
            )
        facts = await fact_queries.read(connection, world_id, audio.media_id)
        duration_ms = None if facts is None else facts.duration_ms
        await self._daily_audio.check(connection, world_id, duration_ms, now)
        processing = await self._processing(connection, world_id, audio)
        slot = wish.provider or _slot_of(processing)
        names_one = wish.language is not None or wish.languages is not None
        if names_one and await engine_of(connection, world_id, slot) == "local":
            check_known(wish)
        created = await lifecycle.begin_transcription(
            connection, self._ports, audio, slot, add_configured(wish, processing), origin="request"
        )
        if created is None:
            raise AssertionError("only automatic transcriptions are made once")
        about = audio.end_user_id
        await audit.note(connection, self._ports.ids, now, actor, "transcription.created", created, about)
        return await self._read_in(connection, actor, created)

    async def write(
        self, connection: Connection, world_id: int, recording_id: str, media_id: str, transcript: Transcript
    ) -> str | None:
        """Store a transcript that was made elsewhere; the id of its transcription. None without the audio."""
        audio = await audio_of(connection, world_id, recording_id, media_id, lock=True)
        if audio is None:
            return None
        return await lifecycle.write_transcript(connection, self._ports, audio, transcript, self.on_complete)

    async def replayed(self, actor: Actor, stored: Transcription) -> Transcription:
        """The answer to a repeated request: the transcription of the first request, in its current state.

        Raises NotFound when that transcription is gone.
        """
        return await self.read(actor, stored.id)

    async def read(self, actor: Actor, transcription_id: str, *, with_words: bool = False) -> Transcription:
        """A transcription with its segments. Raises NotFound when the caller sees no such transcription."""
        async with self._ports.database.acquire() as connection:
            return await self._read_in(connection, actor, transcription_id, with_words=with_words)

    async def size(self, actor: Actor, transcription_id: str) -> int:
        """Approximate size of the transcription's JSON, in bytes. Raises NotFound when there is no such
        transcription."""
        async with self._ports.database.acquire() as connection:
            size = await queries.size(connection, actor.world_id, transcription_id)
        if size is None:
            raise _unknown()
        return size

    async def size_of_export(self, actor: Actor, transcription_id: str) -> int:
        """Approximate memory that an export needs, in bytes. Raises NotFound when there is no such
        transcription."""
        return min(await self.size(actor, transcription_id), IN_PIECES)

    async def size_of_list(self, actor: Actor, query: TranscriptionQuery) -> int:
        """Approximate size of the page's JSON, in bytes. Raises InvalidRequest if the cursor is not of this
        list."""
        async with self._ports.database.acquire() as connection:
            return await transcription_list_queries.list_size(
                connection,
                actor.world_id,
                actor.end_user_id,
                window(query, "transcriptions"),
                query,
            )

    async def list(self, actor: Actor, query: TranscriptionQuery) -> TranscriptionPage:
        """A page, newest first. Raises InvalidRequest if the cursor is not of this list."""
        asked = window(query, "transcriptions")
        async with self._ports.database.acquire() as connection:
            rows = await transcription_list_queries.list_page(
                connection, actor.world_id, actor.end_user_id, asked, query
            )
        data, has_more, next_cursor = page(
            rows,
            asked,
            transcription_of if query.include is None else transcript_of,
            cut=bool(rows) and rows[-1].followed,
        )
        return TranscriptionPage(data=data, has_more=has_more, next_cursor=next_cursor)

    async def export(self, actor: Actor, transcription_id: str, name: FormatName) -> Reply[Content]:
        """The transcript as a file.

        Raises NotFound when the caller sees no such transcription, TranscriptNotReady when it is not
        completed.
        """
        form = FORMATS[name]
        async with self._ports.database.acquire() as connection:
            row = await export_queries.read(
                connection,
                actor.world_id,
                transcription_id,
                actor.end_user_id,
                has_words=form.has_words,
                most=SLICE,
            )
        if row is None:
            raise _unknown()
        if row.status != "completed":
            why = f" ({row.error_code}): {row.error_message}" if row.status == "failed" else "."
            raise TranscriptNotReady(f"There is no transcript: this transcription is {row.status}{why}")
        segments = segments_of(row)
        if segments is not None:
            document = document_of(row, segments)
            content = await asyncio.to_thread(form.render, document)
        else:
            document = document_of(row, self._stored(actor, transcription_id, has_words=form.has_words))
            content = await self._turns.chunks(actor.world_id, form.pieces(document))
        file_name = f"{clean(document.title) or 'transcript'}.{form.extension}"
        headers = [
            ("Content-Type", form.media_type),
            ("Content-Disposition", content_disposition("attachment", file_name, "transcript")),
        ]
        if name == "html":  # in case a browser shows it although it is an attachment
            headers.append(("Content-Security-Policy", CONTENT_SECURITY_POLICY))
        return Reply(content, headers=tuple(headers))

    async def ids_of(self, actor: Actor, recording_id: str) -> AsyncGenerator[str]:
        """The ids of all transcriptions of a recording, also of those that no list shows any more."""
        ids = [""]
        while ids:
            async with self._ports.database.acquire() as connection:
                ids = await export_queries.list_ids(
                    connection, actor.world_id, recording_id, actor.end_user_id, ids[-1], _IDS_AT_ONCE
                )
            for each in ids:
                yield each

    async def written(self, actor: Actor, transcription_id: str) -> AsyncGenerator[bytes]:
        """The JSON of `read` with words, in pieces: the segments are never in memory as a whole.

        Raises NotFound when the caller sees no such transcription, or when it is deleted meanwhile.
        """
        async with self._ports.database.acquire() as connection:
            row = await queries.read_facts(connection, actor.world_id, transcription_id, actor.end_user_id)
        if row is None:
            raise _unknown()
        yield msgspec.json.encode(transcription_of(row))[:-1] + b',"segments":'
        if row.status != "completed":
            yield b"null}"
            return
        place = 0
        while piece := await self._read_slice(actor, transcription_id, place, has_words=True):
            place += len(piece)
            yield piece
        yield b"}"

    async def _read_slice(self, actor: Actor, transcription_id: str, place: int, *, has_words: bool) -> bytes:
        """At most `SLICE` bytes of the stored segments from byte `place` on. Raises NotFound when the
        transcription is gone."""
        async with self._ports.database.acquire() as connection:
            found = await export_queries.read_slice(
                connection,
                actor.world_id,
                transcription_id,
                actor.end_user_id,
                has_words=has_words,
                place=place,
                size=SLICE,
            )
        if found is None:
            raise _unknown()
        return found

    def _stored(self, actor: Actor, transcription_id: str, *, has_words: bool) -> StoredSegments:
        """The segments of a long transcript, to be iterated in a thread. Iteration raises NotFound if the
        transcript is deleted meanwhile."""
        loop = asyncio.get_running_loop()

        def read(place: int) -> bytes:
            coming = self._read_slice(actor, transcription_id, place, has_words=has_words)
            return asyncio.run_coroutine_threadsafe(coming, loop).result()

        return StoredSegments(read)

    async def waveform(self, actor: Actor, recording_id: str, points: int) -> Waveform:
        """The waveform of a recording in `points` values.

        Raises NotFound when the caller sees no such recording, MediaNotUploaded when it has no audio,
        Conflict when the audio is not probed yet or cannot be decoded.
        """
        async with self._ports.database.acquire() as connection:
            audio = await find_audio(connection, actor, recording_id)
            facts = await fact_queries.read(connection, actor.world_id, audio.media_id)
        if facts is None:
            raise Conflict(
                "The waveform of this recording is being computed. Repeat the request in a second.",
                headers=(("Retry-After", "1"),),
            )
        if facts.duration_ms is None:
            raise Conflict(f"There is no waveform ({facts.error_code}): {facts.error_message}")
        return Waveform(duration_ms=facts.duration_ms, peaks=resample(facts.peaks or b"", points))

    # ---- automatic processing

    async def announce_audio(
        self, connection: Connection, world_id: int, recording_id: str, media_id: str
    ) -> None:
        """Queue the job that processes an audio, in the transaction that makes the audio readable.

        A failure of the job does not affect that transaction.
        """
        await jobs.enqueue(connection, PROCESS, Process(world_id, recording_id, media_id))

    async def process(self, told: Process) -> None:
        """Begin to transcribe the audio if the configuration says so; otherwise only probe it.

        Does nothing if the audio is gone, or if its recording is being transcribed already (by an earlier try
        of this job, or on request). Raises Unavailable when the database is away.
        """
        now, world_id = self._ports.clock.now(), told.world_id
        crash_point("process:begin")
        async with self._ports.database.transaction() as connection:
            audio = await audio_of(connection, world_id, told.recording_id, told.media_id, lock=True)
            if audio is None:  # deleted meanwhile
                return
            if await queries.find_running(connection, world_id, audio.recording_id, now - _PATIENCE):
                return  # a request came first; its transcription includes the probe
            processing = await self._processing(connection, world_id, audio)
            if not processing["auto_transcription"]["enabled"]:
                await lifecycle.begin_probe(connection, world_id, audio.recording_id, audio.media_id, now)
            else:
                wish = add_configured(TranscribeRecording(), processing)
                await lifecycle.begin_transcription(
                    connection, self._ports, audio, _slot_of(processing), wish, origin="auto"
                )
            crash_point("process:written")
        crash_point("process:committed")

    async def erase_of_recordings(
        self, connection: Connection, world_id: int, recording_ids: list[str]
    ) -> None:
        """Erase the outbox events of the transcriptions of deleted recordings.

        The rows of the transcriptions are deleted together with the recordings. The caller has locked the
        recordings, so that no work on them begins meanwhile.
        """
        await work_queries.lock_of_recordings(connection, world_id, recording_ids)
        found = await queries.lock_of_recordings(connection, world_id, recording_ids)
        if found:
            await outbox.erase(connection, world_id, found)

    async def _processing(self, connection: Connection, world_id: int, audio: Audio) -> Document:
        return await self._configuration.processing(connection, world_id, audio.end_user_id, audio.device_id)

    async def _read_in(
        self, connection: Connection, actor: Actor, transcription_id: str, *, with_words: bool = False
    ) -> Transcription:
        row = await queries.read(
            connection, actor.world_id, transcription_id, actor.end_user_id, with_words=with_words
        )
        if row is None:
            raise _unknown()
        return transcript_of(row)


def _slot_of(processing: Document) -> SpeechSlot:
    return processing["auto_transcription"]["provider"] or _DEFAULT_SLOT


def _unknown() -> NotFound:
    return NotFound("There is no transcription with this id.")
