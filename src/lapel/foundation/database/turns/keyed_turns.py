"""Callers with the same key, one after the other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.turns.fair_semaphore import FairSemaphore

if TYPE_CHECKING:
    from collections.abc import Hashable


class KeyedTurns:
    """One caller of each key is inside; the others wait, in the order of their calls.

    A caller who leaves early, because it was cancelled, lets the next one in.
    """

    def __init__(self, patience: float, too_late: str) -> None:
        """`patience`: seconds that a caller waits. `too_late`: the message for those who waited in vain."""
        self._patience = patience
        self._too_late = too_late
        # The keys of the callers inside, and the line of those who wait; None if nobody has waited.
        self._lines: dict[Hashable, FairSemaphore | None] = {}

    @property
    def keys(self) -> int:
        """The number of keys with a caller inside."""
        return len(self._lines)

    async def enter(self, key: Hashable) -> None:
        """Wait until no earlier caller of this key is inside; the caller must call `leave` later.

        Raises Unavailable after `patience` seconds; the caller then must not call `leave`.
        """
        if key not in self._lines:
            self._lines[key] = None
            return
        line = self._lines[key]
        if line is None:
            line = self._lines[key] = FairSemaphore(0, self._patience)
        try:
            await line.enter()
        except TimeoutError as late:
            raise Unavailable(self._too_late) from late
        except asyncio.CancelledError:
            self._forget(key, line)
            raise

    def leave(self, key: Hashable) -> None:
        """Let the next caller of this key in."""
        line = self._lines[key]
        if line is None:
            del self._lines[key]
            return
        line.leave()
        self._forget(key, line)

    def _forget(self, key: Hashable, line: FairSemaphore) -> None:
        """Forget the key if its place is free."""
        if line.try_enter():
            del self._lines[key]
