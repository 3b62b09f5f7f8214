"""The least that lets callers share a statement: no errors, no turns, no patience, no callers who leave."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Asked = TypeVar("Asked")
Found = TypeVar("Found")


class Sharing(Generic[Asked, Found]):
    """Asks at once while fewer than two statements are under way, and together for all who come meanwhile."""

    def __init__(self, statement: Callable[[Sequence[Asked]], Awaitable[Sequence[Found]]]) -> None:
        self._statement = statement
        self._waiting: list[tuple[Asked, asyncio.Future[Found]]] = []
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, asked: Asked) -> Found:
        """The answer to one question."""
        if self._under_way < 2:
            self._under_way += 1
            (found,) = await self._statement([asked])
            self._go_on()
            return found
        turn: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, turn))
        return await turn

    def _go_on(self) -> None:
        self._under_way -= 1
        if self._waiting:
            self._under_way += 1
            waiting, self._waiting = self._waiting[:128], self._waiting[128:]
            task = asyncio.create_task(self._answer(waiting))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, waiting: list[tuple[Asked, asyncio.Future[Found]]]) -> None:
        found = await self._statement([asked for asked, _ in waiting])
        for (_, turn), each in zip(waiting, found, strict=True):
            turn.set_result(each)
        self._go_on()
