"""The events of this slice: each is published once per transcription."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from lapel.foundation.database import outbox

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.connection import Connection
    from lapel.slices.transcription.wire import Transcription


# The nested object of an event leaves these fields out. In an event that would be too large, they are null.
_TEXTS = ("full_text", "text")


def transcription_body(transcription: Transcription) -> bytes:
    """The JSON of a transcription without segments.

    Its field `transcription` holds the same fields again, without texts. If the JSON would exceed
    `outbox.MAX_DATA_BYTES`, all texts are null.
    """
    shown: dict[str, object] = {
        name: getattr(transcription, name)
        for name in transcription.__struct_fields__
        if getattr(transcription, name) is not msgspec.UNSET
    }
    shown["transcription"] = {name: value for name, value in shown.items() if name not in _TEXTS}
    body = msgspec.json.encode(shown)
    if len(body) > outbox.MAX_DATA_BYTES:
        body = msgspec.json.encode(shown | dict.fromkeys(_TEXTS))
    return body


async def publish(
    connection: Connection,
    ids: Ids,
    now: datetime,
    world_id: int,
    kind: Literal["started", "completed", "failed"],
    transcription: Transcription,
) -> None:
    """Publish one event with the transcription, without segments."""
    await outbox.publish(
        connection,
        ids,
        now,
        world_id=world_id,
        type=f"transcription.{kind}",
        resource_id=transcription.id,
        data=transcription_body(transcription),
    )
