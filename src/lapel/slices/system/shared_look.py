"""One look at a part of the installation, for all who ask at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

PROBE_SECONDS = 2.0


class SharedLook(Generic[T]):
    """A look that nobody waits for longer than a probe may take.

    If the database hangs, its connection is given back only seconds after the look was given up. Those who
    ask meanwhile wait for the same look, so that they do not take all connections.
    """

    def __init__(
        self, look: Callable[[], Coroutine[None, None, T]], name: str, seconds: float | None = PROBE_SECONDS
    ) -> None:
        """`name`: of the look's task. `seconds`: how long each waits; None: until the look ends."""
        self._look = look
        self._name = name
        self._seconds = seconds
        self._looking: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """What the look tells. Raises what it raises, and TimeoutError if it tells nothing in time."""
        looking = self._looking
        if looking is None or looking.done():
            looking = self._looking = asyncio.create_task(self._look(), name=self._name)
            looking.add_done_callback(_take_error)
        done, _ = await asyncio.wait({looking}, timeout=self._seconds)
        if not done:
            raise TimeoutError
        return looking.result()


def _take_error(looking: asyncio.Task[T]) -> None:
    """asyncio would log an error that nobody waited for."""
    if not looking.cancelled():
        looking.exception()
