"""Names and payloads of this slice's jobs."""

from __future__ import annotations

import msgspec

ERASE_RECORDING = "erasure.recording"
ERASE_END_USER = "erasure.end-user"


class EraseRecording(msgspec.Struct, frozen=True):
    """Delete the objects of one ledger entry."""

    world_id: int
    entry_id: str


class EraseEndUser(msgspec.Struct, frozen=True):
    """Delete the objects of every recording of a deleted end user."""

    world_id: int
    end_user_id: str
