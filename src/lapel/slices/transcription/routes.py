"""Transcriptions and waveforms over HTTP.

A key scoped to one end user asks for, and sees, the transcriptions of that end user's recordings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict
from lapel.foundation.core.rate_limit import RateLimit
from lapel.foundation.http.authorization import Access
from lapel.foundation.http.routes import Routes
from lapel.slices.end_users.service import READERS
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
    from lapel.foundation.http.operations import Operation
    from lapel.slices.transcription.service import Transcriptions

TRANSCRIPTIONS = RateLimit("transcription", lambda settings: settings.transcriptions_per_minute)
_READ = Access("transcriptions:read", READERS, "filter")
_WRITE = Access("transcriptions:write", end_user_keys="filter")
_READ_AUDIO = Access("recordings:read", READERS, "filter")
_ROUTES = Routes("Transcriptions", read=_READ, write=_WRITE)
_ALL = "/v1/transcriptions"
_ONE = f"{_ALL}/{{transcription_id}}"
_RECORDING = "/v1/recordings/{recording_id}"


def operations(service: Transcriptions) -> tuple[Operation, ...]:
    """All routes of transcriptions, and the waveform."""
    return (*_beginnings(service), *_reads(service))


def _beginnings(service: Transcriptions) -> tuple[Operation, ...]:
    return (
        _ROUTES.post(_ALL, "create_transcription", Transcription, CreateTranscription).stored(
            "Transcribe a recording",
            lambda call: service.create(call.connection, call.actor, call.body.recording_id, call.body),
            "Without `provider`, the provider in the configuration transcribes; if none is configured, "
            "`whisper` does. A completed transcription replaces the recording's older transcriptions: lists "
            "leave those out, but they stay readable by id. 409 if another transcription of the recording "
            "is under way and younger than ten minutes. To learn the result, read the new transcription "
            "again, or wait for the event `transcription.completed` or `transcription.failed`.",
            status=201,
            errors=(MediaNotUploaded, TranscriptionInProgress),
            bucket=TRANSCRIPTIONS,
            replay=lambda call, stored: service.replayed(call.actor, stored),
            audit="transcription.created",
        ),
        _ROUTES.post(
            f"{_RECORDING}/transcribe", "transcribe_recording", Transcription, TranscribeRecording
        ).stored(
            "Transcribe a recording (older form)",
            lambda call: service.create(call.connection, call.actor, call.id, call.body),
            "Does the same as `POST /v1/transcriptions`, with the recording's id in the path.",
            status=201,
            errors=(MediaNotUploaded, TranscriptionInProgress),
            bucket=TRANSCRIPTIONS,
            replay=lambda call, stored: service.replayed(call.actor, stored),
            audit="transcription.created",
        ),
    )


def _reads(service: Transcriptions) -> tuple[Operation, ...]:
    return (
        _ROUTES.get(_ALL, "list_transcriptions", TranscriptionPage, TranscriptionQuery).plain(
            "List transcriptions",
            lambda call: service.list(call.actor, call.query),
            "Newest first. `include=segments` adds the segments; `include=words` adds the segments and "
            "their words.",
            sized=lambda call: service.size_of_list(call.actor, call.query),
        ),
        _ROUTES.get(_ONE, "get_transcription", Transcription, ReadTranscription).plain(
            "Get a transcription",
            lambda call: service.read(call.actor, call.id, with_words=call.query.include == "words"),
            "A completed transcription has its segments; `include=words` adds their words. Before that, "
            "`progress` says how far the work is.",
            sized=lambda call: service.size(call.actor, call.id),
        ),
        _ROUTES.get(f"{_ONE}/export", "export_transcription", query=ExportQuery).content(
            "Export a transcript as a file",
            lambda call: service.export(call.actor, call.id, call.query.format),
            "As text, Markdown, subtitles, CSV, JSON, HTML or DOCX. 409 while there is no transcript.",
            answer="file",
            file_types=tuple(each.media_type for each in FORMATS.values()),
            errors=(TranscriptNotReady,),
            sized=lambda call: service.size_of_export(call.actor, call.id),
        ),
        _ROUTES.get(
            f"{_RECORDING}/waveform", "get_waveform", Waveform, WaveformQuery, access=_READ_AUDIO
        ).plain(
            "Get a recording's waveform",
            lambda call: service.waveform(call.actor, call.id, call.query.points),
            "The loudest sample of each share of the audio. 409 until the audio is probed, shortly after "
            "its upload. 409 also if the audio cannot be read.",
            errors=(MediaNotUploaded, Conflict),
        ),
    )
