"""What several callers need, made by one attempt for all who wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class SharedAttempt(Generic[T]):
    """Made by the first caller's attempt, and kept. After an error the next caller tries again.

    A caller who goes away does not end the attempt.
    """

    def __init__(self, make: Callable[[], Coroutine[None, None, T]], name: str) -> None:
        """`name`: of the attempt's task."""
        self._make = make
        self._name = name
        self._attempt: asyncio.Task[T] | None = None

    def _begin(self) -> asyncio.Task[T]:
        """Begin an attempt, if none is under way or has succeeded."""
        if self._attempt is None:
            self._attempt = asyncio.create_task(self._make(), name=self._name)
            self._attempt.add_done_callback(self._ended)
        return self._attempt

    async def get(self) -> T:
        """What was made. Raises the error of the attempt, and CancelledError if `forget` ends it."""
        return await asyncio.shield(self._begin())

    async def forget(self) -> T | None:
        """Forget what was made, and return it; None if there is nothing. Cancels an attempt under way."""
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return None
        attempt.cancel()
        await asyncio.wait([attempt])
        return None if _failed(attempt) else attempt.result()

    def _ended(self, attempt: asyncio.Task[T]) -> None:
        if _failed(attempt) and self._attempt is attempt:
            self._attempt = None


def _failed(attempt: asyncio.Task[T]) -> bool:
    return attempt.cancelled() or attempt.exception() is not None
