"""Names and payloads of this slice's jobs."""

from __future__ import annotations

import msgspec

from lapel.slices.recordings.access import Reach

VERIFY = "recordings.verify-upload"
DELETE_OF_END_USER = "recordings.delete-of-end-user"
ERASE_RELEASED = "recordings.erase-released"


class VerifyUpload(msgspec.Struct, frozen=True):
    """Verify every media of this recording whose status is `verifying`."""

    world_id: int
    recording_id: str

    @property
    def at(self) -> Reach:
        """The recording, reached without limits."""
        return Reach(self.world_id, self.recording_id)


class DeleteOfEndUser(msgspec.Struct, frozen=True):
    """Delete all recordings and all other rows of a deleted end user."""

    world_id: int
    end_user_id: str


class EraseReleased(msgspec.Struct, frozen=True):
    """Erase what a legal hold postponed; the hold is released."""

    world_id: int
    hold_id: str
