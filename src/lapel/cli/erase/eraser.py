"""Deletes one resource as a `DELETE` does, and erases its objects at once, without a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.slices.end_users.service import EndUsers
from lapel.slices.erasure.payloads import EraseEndUser
from lapel.slices.erasure.service import Erasures
from lapel.slices.recordings.payloads import DeleteOfEndUser
from lapel.slices.recordings.service import Reach, Recordings

if TYPE_CHECKING:
    from lapel.foundation.slices import Services
    from lapel.slices.erasure.service import Cause
    from lapel.slices.erasure.wire import State


class Eraser:
    """Erases for one cause.

    Both methods return the state that the ledger entry has then, and may be repeated after a failure. They
    raise NotFound when there is no such resource, StoreUnavailable while the store is unavailable, and
    Unavailable while the database is.
    """

    def __init__(self, services: Services, cause: Cause) -> None:
        self._cause = cause
        self._erasures = services[Erasures]
        self._end_users = services[EndUsers]
        self._deletion = services[Recordings].deletion

    async def end_user(self, world_id: int, end_user_id: str) -> State | None:
        """Erase an end user, with all recordings."""
        await self._end_users.delete(world_id, end_user_id, self._cause)
        await self._deletion.delete_of_end_user(DeleteOfEndUser(world_id, end_user_id))
        await self._erasures.erase_end_user(EraseEndUser(world_id, end_user_id))
        return await self._erasures.state_of(world_id, "end_user", end_user_id)

    async def recording(self, world_id: int, recording_id: str) -> State | None:
        """Erase a recording."""
        await self._deletion.delete(Reach(world_id, recording_id), self._cause)
        await self._erasures.erase_at_once(world_id, "recording", recording_id)
        return await self._erasures.state_of(world_id, "recording", recording_id)
