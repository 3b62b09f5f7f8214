"""The recordings that a caller reaches. A request for any other recording answers 404."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.clock import timestamp
from lapel.foundation.core.errors import NotFound
from lapel.slices.end_users.service import present
from lapel.slices.recordings.errors import MediaNotUploaded

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.core.actors import Actor


# SQL: true if the recording `r` is not deleted. A deleted recording has a row in two cases: a job has not
# deleted the rows of its deleted end user yet, or a legal hold keeps the row (`deleted_at`). The row is read
# in any case, so its own column costs nothing.
PRESENT = f"(r.deleted_at IS NULL AND {present('r')})"


class Reach(msgspec.Struct, frozen=True):
    """One recording, and the limits of its caller. A limit of None allows any recording.

    `end_user_id`: the caller reaches only recordings of this end user. `device_id`: the caller reaches only
    recordings of this device in one binding. `binding_generation`: this binding, which the device's token
    names.
    """

    world_id: int
    recording_id: str
    end_user_id: str | None = None
    device_id: str | None = None
    binding_generation: int | None = None


def reach(actor: Actor, recording_id: str) -> Reach:
    """The recording that the URL names, with the limits of the caller's token. Looks nothing up.

    Raises NotFound for an upload token of another recording.
    """
    if actor.kind == "upload" and actor.id != recording_id:
        raise unknown()
    if actor.kind == "device":
        return Reach(
            actor.world_id,
            recording_id,
            device_id=actor.id,
            binding_generation=actor.binding_generation,
        )
    own = actor.end_user_id if actor.kind in ("key", "end_user") else None
    return Reach(actor.world_id, recording_id, end_user_id=own)


def unknown() -> NotFound:
    """The error for a recording that the caller may not see, that does not exist or that is deleted."""
    return NotFound("There is no recording with this id.")


def no_audio(erased_at: datetime | None) -> MediaNotUploaded:
    """The error for a recording without an uploaded audio. `erased_at`: when it was erased, if ever."""
    if erased_at is None:
        return MediaNotUploaded("This recording has no uploaded audio yet: upload the audio first.")
    return MediaNotUploaded(
        f"The audio of this recording was erased at {timestamp(erased_at)}, because its retention period had "
        "ended. The recording and its transcriptions stay."
    )
