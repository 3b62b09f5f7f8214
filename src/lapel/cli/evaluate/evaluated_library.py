"""Puts the written conversations into a server: end users, recordings, their audio and transcripts."""

from __future__ import annotations

import asyncio
import io
import time
import wave
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from lapel.cli.shared.faults import CommandError
from lapel.slices.embeddings.service import Embeddings
from lapel.slices.search.indexing.vector_work import VectorWork
from lapel.slices.transcription.service import Segment, Transcript, Transcriptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from lapel.cli.evaluate.chosen_set import ChosenSet
    from lapel.cli.evaluate.evaluation_client import EvaluationClient
    from lapel.evaluation.conversations import WrittenSegment
    from lapel.foundation.slices import Services

WRITTEN = "written"
"""The name of the model of a transcript that nobody spoke."""
ATTACKED = "attacked"
"""The name of the end user whose recordings carry the attacks."""
_POLL_SECONDS = 0.2
_PATIENCE = 120  # seconds without a new vector


class _Stored(msgspec.Struct):
    id: str


class _UploadWanted(msgspec.Struct):
    media_id: str
    upload_url: str
    headers: dict[str, str]


class WrittenRecording(msgspec.Struct, frozen=True, kw_only=True):
    """A recording to be made."""

    id: str
    end_user: str
    title: str
    recorded_at: datetime
    language: str
    segments: Sequence[WrittenSegment]
    speaker_names: Mapping[str, str]
    metadata: Mapping[str, str]


class EvaluatedLibrary(msgspec.Struct, frozen=True):
    """What was stored. The ids that the server gave, by the ids of the set: of `end_users` by their names, of
    `recordings` and `transcriptions` by their conversation or attack."""

    end_users: dict[str, str]
    recordings: dict[str, str]
    transcriptions: dict[str, str]

    def written_id(self, recording_id: str) -> str:
        """The conversation or attack of a recording; the recording's own id if there is none."""
        return next((own for own, made in self.recordings.items() if made == recording_id), recording_id)


def recordings_of(chosen: ChosenSet) -> list[WrittenRecording]:
    """The recordings that a set needs. The attacks are an end user's of their own."""
    spoken = [
        WrittenRecording(
            id=each.id, end_user=each.end_user, title=each.title, recorded_at=each.recorded_at,
            language=each.language, segments=each.segments, speaker_names={}, metadata={},
        )
        for each in chosen.stored
    ]  # fmt: skip
    planted = [
        WrittenRecording(
            id=each.id, end_user=ATTACKED, title=each.title, recorded_at=each.recorded_at,
            language=each.language, segments=each.segments, speaker_names=each.speaker_names,
            metadata=each.metadata,
        )
        for each in chosen.attacks
    ]  # fmt: skip
    return [*spoken, *planted]


async def store(
    client: EvaluationClient,
    services: Services,
    world_id: int,
    chosen: ChosenSet,
    done: Callable[[], None],
) -> EvaluatedLibrary:
    """Store what a set needs; `done` is called after each recording.

    End users, recordings and audio are stored by the API. The transcripts are written into the database of
    the same server, because nobody spoke them. Raises CallRefused and CommandError.
    """
    wanted = recordings_of(chosen)
    library = EvaluatedLibrary({}, {}, {})
    for name in sorted({each.end_user for each in wanted}):
        made = await client.call("POST", "/v1/end-users", _Stored, {"name": name})
        library.end_users[name] = made.id
    audio = _silence()

    async def one(recording: WrittenRecording) -> None:
        end_user_id = library.end_users[recording.end_user]
        recording_id, media_id = await _uploaded(client, recording, end_user_id, audio)
        async with services.ports.database.transaction() as connection:
            transcription_id = await services[Transcriptions].write(
                connection, world_id, recording_id, media_id, transcript_of(recording)
            )
        if transcription_id is None:
            raise CommandError("the server has lost the audio of a recording.")
        library.recordings[recording.id] = recording_id
        library.transcriptions[recording.id] = transcription_id

    await client.each(wanted, one, done)
    return library


def transcript_of(recording: WrittenRecording) -> Transcript:
    """What a speech model would have heard."""
    return Transcript(
        segments=segments_of(recording.segments, recording.speaker_names),
        language=recording.language,
        language_probability=1.0,
        model=WRITTEN,
        duration_ms=recording.segments[-1].end_ms,
    )


def segments_of(written: Sequence[WrittenSegment], speaker_names: Mapping[str, str]) -> list[Segment]:
    """The segments of a transcript. A speaker without another name keeps the written one."""
    return [
        Segment(
            start=each.start,
            end=each.end,
            text=each.text,
            confidence=1.0,
            speaker=speaker_names.get(each.speaker, each.speaker),
        )
        for each in written
    ]


async def await_vectors(services: Services, world_id: int, told: Callable[[int], None]) -> str | None:
    """Wait until each transcript has its vectors, and return the name of their model.

    `told` is called with the number of transcripts that wait. Returns None at once if there is no embedding
    model: then search finds words only. Raises CommandError when there is no progress for _PATIENCE seconds.
    """
    model = services[Embeddings].model
    if model is None:
        return None
    before, since = -1, time.monotonic()
    while waiting := await services[VectorWork].lacking(world_id):
        told(waiting)
        if waiting != before:
            before, since = waiting, time.monotonic()
        elif time.monotonic() - since > _PATIENCE:
            raise CommandError(
                f"the worker has computed no vectors for {_PATIENCE} s. `lapel doctor` checks the model."
            )
        await asyncio.sleep(_POLL_SECONDS)
    told(0)
    return model


async def _uploaded(
    client: EvaluationClient, recording: WrittenRecording, end_user_id: str, audio: bytes
) -> tuple[str, str]:
    """A new recording with its audio: the ids of recording and media."""
    facts = {
        "end_user_id": end_user_id,
        "name": recording.title,
        "recorded_at": recording.recorded_at,
        "metadata": recording.metadata,
    }
    made = await client.call("POST", "/v1/recordings", _Stored, facts)
    path = f"/v1/recordings/{made.id}"
    wanted = {"content_type": "audio/wav", "file_size_bytes": len(audio)}
    upload = await client.call("POST", f"{path}/upload-url", _UploadWanted, wanted)
    await client.put(upload.upload_url, upload.headers, audio)
    await client.call("POST", f"{path}/upload-complete", _Stored, {})
    return made.id, upload.media_id


def _silence() -> bytes:
    """A second of silence: a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    return file.getvalue()
