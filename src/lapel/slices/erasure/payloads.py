"""Names and payloads of this slice's jobs."""

from __future__ import annotations

import msgspec

ERASE_RECORDING = "erasure.recording"
ERASE_ENTRIES = "erasure.entries"
ERASE_END_USER = "erasure.end-user"


class EraseRecording(msgspec.Struct, frozen=True):
    """Delete the objects of one ledger entry."""

    world_id: int
    entry_id: str


class EraseEntries(msgspec.Struct, frozen=True):
    """Delete the objects of some ledger entries, which one transaction has written."""

    world_id: int
    entry_ids: list[str]


class EraseEndUser(msgspec.Struct, frozen=True):
    """Delete the objects of every recording of a deleted end user."""

    world_id: int
    end_user_id: str
