"""One world holds at most half of a process's database connections, even if many of its requests wait."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from lapel.foundation.database.turns.fair_semaphore import FairSemaphore

# The world that the present request works for, once it is known.
WORLD: ContextVar[int | None] = ContextVar("world", default=None)
# The project of this world; empty while it is not known. Projects take turns at what a machine has once.
PROJECT: ContextVar[str] = ContextVar("project", default="")

# Tokens whose world is remembered.
_CAPACITY = 20_000


class TokenWorlds:
    """The worlds of valid device tokens: a request counts for its world before its token is looked up.

    A token never changes its world. A forgotten token is learned again.
    """

    def __init__(self) -> None:
        self._worlds: dict[bytes, int] = {}

    def expect(self, token_hash: bytes) -> None:
        """Count the present request for the token's world, if this world is known."""
        WORLD.set(self._worlds.get(token_hash))

    def learn(self, token_hash: bytes, world_id: int) -> None:
        """Remember the world of a valid token."""
        if len(self._worlds) >= _CAPACITY:
            self._worlds.clear()
        self._worlds[token_hash] = world_id


@dataclass(slots=True)
class _Line:
    semaphore: FairSemaphore
    users: int = 0


class WorldShares:
    """A semaphore for each world that has requests; requests without a known world pass freely."""

    def __init__(self, places: int, patience: float) -> None:
        self._each = max(1, places // 2)
        self._patience = patience
        self._lines: dict[int, _Line] = {}

    async def enter(self) -> int | None:
        """Take a place in the request's world. Returns the world; the caller must pass it to `leave` later.

        Raises TimeoutError when no place becomes free within `patience` seconds.
        """
        world_id = WORLD.get()
        if world_id is None:
            return None
        line = self._lines.get(world_id)
        if line is None:
            line = self._lines[world_id] = _Line(FairSemaphore(self._each, self._patience))
        line.users += 1
        if not line.semaphore.try_enter():
            try:
                await line.semaphore.enter()
            except BaseException:
                self._forget(world_id, line)
                raise
        return world_id

    def leave(self, world_id: int | None) -> None:
        """Give back the place that `enter` took; `world_id` is the value that `enter` returned."""
        if world_id is not None:
            line = self._lines[world_id]
            line.semaphore.leave()
            self._forget(world_id, line)

    def _forget(self, world_id: int, line: _Line) -> None:
        line.users -= 1
        if not line.users:
            del self._lines[world_id]
