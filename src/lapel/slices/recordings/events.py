"""The events of this slice."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec

from lapel.foundation.core.clock import timestamp
from lapel.foundation.database import outbox
from lapel.slices.recordings.content_types import format_of
from lapel.slices.recordings.rows import RecordingRow, RecordingRows
from lapel.slices.recordings.views import recording_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.connection import Connection
    from lapel.slices.recordings.wire import Recording, RecordingStatus


class DeletedRecording(msgspec.Struct, frozen=True, kw_only=True):
    """The remains of a deleted recording: its id and times."""

    id: str
    project_id: str
    created_at: str
    deleted_at: str


def recording_body(recording: Recording) -> bytes:
    """The JSON of an event: the recording's fields, `format`, and the recording again as `recording`."""
    shown: dict[str, object] = {name: getattr(recording, name) for name in recording.__struct_fields__}
    shown["format"] = format_of(recording.mime_type)
    shown["recording"] = recording
    return msgspec.json.encode(shown)


def deleted_body(deleted: DeletedRecording) -> bytes:
    """The JSON of `recording.deleted`."""
    return msgspec.json.encode({**msgspec.structs.asdict(deleted), "recording": deleted})


async def publish(
    connection: Connection,
    ids: Ids,
    now: datetime,
    world_id: int,
    kind: Literal["created", "uploaded", "failed"],
    recording: Recording,
    *,
    occasion: str | None = None,
) -> None:
    """Write one event with the whole recording: one per recording or, with `occasion`, one per occasion."""
    await outbox.publish(
        connection,
        ids,
        now,
        world_id=world_id,
        type=f"recording.{kind}",
        resource_id=recording.id,
        data=recording_body(recording),
        dedupe=f"recording.{kind}:{recording.id}:{occasion}" if occasion else None,
        end_user_id=recording.end_user_id,
    )


async def publish_deleted(
    connection: Connection, ids: Ids, now: datetime, world_id: int, deleted: list[DeletedRecording]
) -> None:
    """Erase the bodies of the recordings' earlier events, then write one event for each recording.

    The new events name no end user, so webhooks get them also when the end user is deleted.
    """
    await outbox.erase(connection, world_id, [each.id for each in deleted])
    await outbox.publish_many(
        connection,
        ids,
        now,
        world_id=world_id,
        type="recording.deleted",
        resources=[(each.id, deleted_body(each)) for each in deleted],
    )


def deleted_recording(
    recording_id: str, project_id: str, created_at: datetime, now: datetime
) -> DeletedRecording:
    """The struct of `recording.deleted`, with its times as text."""
    return DeletedRecording(
        id=recording_id, project_id=project_id, created_at=timestamp(created_at), deleted_at=timestamp(now)
    )


def _sample(ids: Ids, now: datetime, project_id: str, *, status: RecordingStatus) -> outbox.EventSample:
    """A recording in this status. Only an uploaded recording has facts of its audio."""
    uploaded, sha256, size, duration_ms = status == "uploaded", "ab" * 32, 64_000, 25_000
    began = now - timedelta(minutes=1)
    row = RecordingRow(
        id=ids.new("rec"),
        end_user_id=ids.new("eu"),
        device_id=ids.new("dev"),
        name="Sample",
        status=status,
        source="device",
        upload_method=None,
        duration_ms=duration_ms if uploaded else None,
        claimed_duration_ms=None,
        started_at=began,
        ended_at=None,
        recorded_at=began,
        transcription_id=None,
        metadata="{}",
        content_sha256=sha256 if uploaded else None,
        content_sha256_verified_at=now if uploaded else None,
        file_size_bytes=size if uploaded else None,
        mime_type="audio/opus" if uploaded else None,
        recording_uuid=None,
        recording_generation=None,
        encryption_version=None,
        consent_obtained=False,
        created_at=began,
        updated_at=now,
        uploaded_at=now if uploaded else None,
        damaged=None,
        warnings=None,
        media_id=ids.new("med") if uploaded else None,
        media_type="audio" if uploaded else None,
        media_content_type="audio/opus" if uploaded else None,
        media_size=size if uploaded else None,
        media_status="uploaded" if uploaded else None,
        media_captured_at=None,
        media_duration_ms=duration_ms if uploaded else None,
        media_sha256=sha256 if uploaded else None,
        media_created_at=began if uploaded else None,
    )
    return outbox.EventSample(row.id, recording_body(recording_of(RecordingRows([row]), project_id)))


def _sample_deleted(ids: Ids, now: datetime, project_id: str) -> outbox.EventSample:
    deleted = deleted_recording(ids.new("rec"), project_id, now - timedelta(days=1), now)
    return outbox.EventSample(deleted.id, deleted_body(deleted))


SAMPLES: Mapping[str, outbox.SampleMaker] = {
    "recording.created": partial(_sample, status="pending"),
    "recording.uploaded": partial(_sample, status="uploaded"),
    "recording.failed": partial(_sample, status="failed"),
    "recording.deleted": _sample_deleted,
}
