"""Which recordings a caller can reach; everything else does not exist for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.errors import NotFound

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor


class Reach(msgspec.Struct, frozen=True):
    """One recording as one caller may see it: of this end user only, of this device only (None: any).

    A device reaches what was made under the binding that its token stands for: `binding_generation`.
    """

    world_id: int
    recording_id: str
    end_user_id: str | None = None
    device_id: str | None = None
    binding_generation: int | None = None


def reach(actor: Actor, recording_id: str) -> Reach:
    """The recording of a path, as far as the caller's token reaches it.

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
    """The one error for a recording that is out of reach, does not exist or is deleted."""
    return NotFound("There is no recording with this id.")
