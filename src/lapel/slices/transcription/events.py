"""The events of this slice: each is published once per transcription."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal

from lapel.foundation.database import outbox
from lapel.slices.transcription.rows import TranscriptionRow
from lapel.slices.transcription.views import transcription_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.connection import Connection
    from lapel.slices.transcription.speech.transcript import Status
    from lapel.slices.transcription.wire import Transcription


# The nested object of an event leaves these fields out. In an event that would be too large, they are null.
_TEXTS = ("full_text", "text")


def transcription_body(transcription: Transcription) -> bytes:
    """The JSON of a transcription without segments.

    Its field `transcription` holds the same fields again, without texts. If the JSON would exceed
    `outbox.MAX_DATA_BYTES`, all texts are null.
    """
    return outbox.data_of(transcription, "transcription", _TEXTS)


async def publish(
    connection: Connection,
    ids: Ids,
    now: datetime,
    world_id: int,
    kind: Literal["started", "completed", "failed"],
    transcription: Transcription,
    end_user_id: str,
) -> None:
    """Publish one event with the transcription, without segments. `end_user_id`: that of the recording."""
    await outbox.publish(
        connection,
        ids,
        now,
        world_id=world_id,
        type=f"transcription.{kind}",
        resource_id=transcription.id,
        data=transcription_body(transcription),
        end_user_id=end_user_id,
    )


def _sample(ids: Ids, now: datetime, project_id: str, *, status: Status) -> outbox.EventSample:
    completed, failed = status == "completed", status == "failed"
    text = "This is a sample." if completed else None
    row = TranscriptionRow(
        id=ids.new("txn"),
        recording_id=ids.new("rec"),
        status=status,
        progress=1.0 if completed else 0.0,
        provider="whisper",
        language_asked=None,
        languages_asked=None,
        diarization=True,
        num_speakers=None,
        language="en" if completed else None,
        model="base" if completed else None,
        duration_ms=25_000,
        full_text=text,
        word_count=4 if completed else None,
        confidence=0.9 if completed else None,
        error_code="audio_corrupt" if failed else None,
        error_message="The audio cannot be decoded." if failed else None,
        started_at=now - timedelta(seconds=10),
        completed_at=now if completed else None,
        created_at=now - timedelta(seconds=20),
        updated_at=now,
        project_id=project_id,
        warnings="[]" if completed else None,
    )
    return outbox.EventSample(row.id, transcription_body(transcription_of(row)))


SAMPLES: Mapping[str, outbox.SampleMaker] = {
    "transcription.started": partial(_sample, status="processing"),
    "transcription.completed": partial(_sample, status="completed"),
    "transcription.failed": partial(_sample, status="failed"),
}
