"""The events of this slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from lapel.foundation.core.clock import timestamp
from lapel.foundation.database import outbox
from lapel.slices.recordings.content_types import format_of

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.connection import Connection
    from lapel.slices.recordings.wire import Recording


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
    )


async def publish_deleted(
    connection: Connection, ids: Ids, now: datetime, world_id: int, deleted: list[DeletedRecording]
) -> None:
    """Erase the bodies of the recordings' earlier events, then write one event for each recording."""
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
