"""Transcriptions and waveforms over HTTP.

A key scoped to one end user asks for, and sees, the transcriptions of that end user's recordings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict, NotFound
from lapel.foundation.http.operations import NoBody, NoQuery, Operation, Params, Reply
from lapel.slices.recordings.errors import MediaNotUploaded
from lapel.slices.transcription.errors import TranscriptionInProgress, TranscriptNotReady
from lapel.slices.transcription.exports.formats import FORMATS
from lapel.slices.transcription.wire import (
    CreateTranscription,
    ExportQuery,
    ReadTranscription,
    TranscribeRecording,
    Transcription,
    TranscriptionPage,
    TranscriptionQuery,
    Waveform,
    WaveformQuery,
)

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor, ActorKind
    from lapel.foundation.database.connection import Connection
    from lapel.slices.transcription.service import Transcriptions

_TAG = "Transcriptions"
_READERS: frozenset[ActorKind] = frozenset({"key", "end_user"})
_REFUSALS = (NotFound, MediaNotUploaded, TranscriptionInProgress)


class _Routes:
    def __init__(self, service: Transcriptions) -> None:
        self._service = service

    async def create(
        self,
        connection: Connection,
        actor: Actor,
        _params: Params,
        _query: NoQuery,
        body: CreateTranscription,
    ) -> Transcription:
        return await self._service.create(connection, actor, body.recording_id, body)

    async def transcribe(
        self, connection: Connection, actor: Actor, params: Params, _query: NoQuery, body: TranscribeRecording
    ) -> Transcription:
        return await self._service.create(connection, actor, params["recording_id"], body)

    async def replayed(self, actor: Actor, _params: Params, stored: Transcription) -> Transcription:
        return await self._service.replayed(actor, stored)

    async def list(
        self, actor: Actor, _params: Params, query: TranscriptionQuery, _body: NoBody
    ) -> TranscriptionPage:
        return await self._service.list(actor, query)

    async def read(
        self, actor: Actor, params: Params, query: ReadTranscription, _body: NoBody
    ) -> Transcription:
        with_words = query.include == "words"
        return await self._service.read(actor, params["transcription_id"], with_words=with_words)

    async def export(self, actor: Actor, params: Params, query: ExportQuery, _body: NoBody) -> Reply:
        return await self._service.export(actor, params["transcription_id"], query.format)

    async def size(self, actor: Actor, params: Params, _query: object, _body: NoBody) -> int:
        return await self._service.size(actor, params["transcription_id"])

    async def size_of_export(self, actor: Actor, params: Params, _query: object, _body: NoBody) -> int:
        return await self._service.size_of_export(actor, params["transcription_id"])

    async def size_of_list(
        self, actor: Actor, _params: Params, query: TranscriptionQuery, _body: NoBody
    ) -> int:
        return await self._service.size_of_list(actor, query)

    async def waveform(self, actor: Actor, params: Params, query: WaveformQuery, _body: NoBody) -> Waveform:
        return await self._service.waveform(actor, params["recording_id"], query.points)


def operations(service: Transcriptions) -> tuple[Operation, ...]:
    """All routes of transcriptions, and the waveform."""
    routes = _Routes(service)
    return (*_beginnings(routes), *_reads(routes))


def _beginnings(routes: _Routes) -> tuple[Operation, ...]:
    return (
        Operation(
            method="POST",
            path="/v1/transcriptions",
            name="create_transcription",
            summary="Transcribe a recording",
            description=(
                "Without `provider` the configuration's is taken, else `whisper`, which runs on this "
                "installation. Once it is completed it is the recording's current transcription, and the "
                "older ones are in no list; by id they stay readable. One that is under way and younger than "
                "ten minutes is 409. Poll it, or wait for `transcription.completed`."
            ),
            tag=_TAG,
            handler=routes.create,
            replay=routes.replayed,
            scope="transcriptions:write",
            end_user_keys="filter",
            body=CreateTranscription,
            response=Transcription,
            status=201,
            errors=_REFUSALS,
            idempotency="stored",
            bucket="transcription",
        ),
        Operation(
            method="POST",
            path="/v1/recordings/{recording_id}/transcribe",
            name="transcribe_recording",
            summary="Transcribe a recording (older form)",
            description="The same, with the recording in the path.",
            tag=_TAG,
            handler=routes.transcribe,
            replay=routes.replayed,
            scope="transcriptions:write",
            end_user_keys="filter",
            body=TranscribeRecording,
            response=Transcription,
            status=201,
            errors=_REFUSALS,
            idempotency="stored",
            bucket="transcription",
        ),
    )


def _reads(routes: _Routes) -> tuple[Operation, ...]:
    return (
        Operation(
            method="GET",
            path="/v1/transcriptions",
            name="list_transcriptions",
            summary="List transcriptions",
            description="Newest first; without their segments, unless `include=segments`; `include=words` "
            "adds their words.",
            tag=_TAG,
            handler=routes.list,
            sized=routes.size_of_list,
            scope="transcriptions:read",
            callers=_READERS,
            end_user_keys="filter",
            query=TranscriptionQuery,
            response=TranscriptionPage,
        ),
        Operation(
            method="GET",
            path="/v1/transcriptions/{transcription_id}",
            name="get_transcription",
            summary="Get a transcription",
            description=(
                "With its segments, once it is completed, and with `include=words` their words; `progress` "
                "says how far it is."
            ),
            tag=_TAG,
            handler=routes.read,
            sized=routes.size,
            scope="transcriptions:read",
            callers=_READERS,
            end_user_keys="filter",
            query=ReadTranscription,
            response=Transcription,
            errors=(NotFound,),
        ),
        Operation(
            method="GET",
            path="/v1/transcriptions/{transcription_id}/export",
            name="export_transcription",
            summary="Export a transcript as a file",
            description="Text, Markdown, subtitles, a table, JSON, a page or a document.",
            tag=_TAG,
            handler=routes.export,
            sized=routes.size_of_export,
            scope="transcriptions:read",
            callers=_READERS,
            end_user_keys="filter",
            query=ExportQuery,
            answer="file",
            file_types=tuple(each.media_type for each in FORMATS.values()),
            errors=(NotFound, TranscriptNotReady),
        ),
        Operation(
            method="GET",
            path="/v1/recordings/{recording_id}/waveform",
            name="get_waveform",
            summary="Get a recording's waveform",
            description=(
                "The loudest sample of each share of the audio. Until the audio was looked at, shortly "
                "after its upload, and where it cannot be read, 409."
            ),
            tag=_TAG,
            handler=routes.waveform,
            scope="recordings:read",
            callers=_READERS,
            end_user_keys="filter",
            query=WaveformQuery,
            response=Waveform,
            errors=(NotFound, MediaNotUploaded, Conflict),
        ),
    )
