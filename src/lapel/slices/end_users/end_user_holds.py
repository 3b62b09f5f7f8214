"""Legal holds of end users: a hold keeps the end user's fields and all recordings, present and future."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from lapel.slices.end_users import queries
from lapel.slices.end_users.service import unknown

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.erasure.service import Hold, Holds, PlaceHold

# `(connection, world id, hold id)`, called in the transaction that releases a hold.
OnRelease: TypeAlias = Callable[["Connection", int, str], Awaitable[None]]


class EndUserHolds:
    """Places and releases holds. Every method raises Unavailable while the database is unavailable."""

    def __init__(self, ports: Ports, holds: Holds) -> None:
        self._ports = ports
        self._holds = holds
        # Hooks that start the erasure of what a hold postponed.
        self.on_release: Final[list[OnRelease]] = []

    async def place(self, actor: Actor, end_user_id: str, body: PlaceHold) -> tuple[Hold, bool]:
        """Place a hold. Returns the hold, and whether it is new.

        Raises NotFound when there is no such end user, and Conflict when its holds keep changing.
        """
        async with self._ports.database.transaction() as connection:
            if not await queries.lock(connection, actor.world_id, end_user_id):
                raise unknown()
            return await self._holds.place(
                connection, actor, ("end_user", end_user_id), body, end_user_id=end_user_id
            )

    async def place_again(self, world_id: int, end_user_id: str, hold_id: str) -> bool:
        """Place a hold that a restored database has lost. False when there is nobody to keep, or a hold."""
        async with self._ports.database.transaction() as connection:
            if not await queries.lock(connection, world_id, end_user_id):
                return False
            return await self._holds.place_again(
                connection, world_id, hold_id, ("end_user", end_user_id), end_user_id=end_user_id
            )

    async def release(self, actor: Actor, end_user_id: str) -> None:
        """Release the hold of an end user, who may be deleted. Raises NotFound without any hold."""
        async with self._ports.database.transaction() as connection:
            hold_id = await self._holds.release(
                connection, actor, ("end_user", end_user_id), end_user_id=end_user_id
            )
            if hold_id is not None:
                for hook in self.on_release:
                    await hook(connection, actor.world_id, hold_id)
