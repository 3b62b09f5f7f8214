"""The time in which a request is answered, whatever it waits for.

The time runs while the server works and stands still while the server waits for the request's body: it counts
from the last byte. At its end the answer is sent at once, by a task of its own, and the request's task is
cancelled. Every wait of that task ends there: for a place, a connection, a statement, a lock, the store. The
task then rolls back what it began, which may take longer where the database hangs; the client does not wait
for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from lapel.foundation.asgi import Message, Receive


class Deadline:
    """The time of one request, whose own task makes this."""

    __slots__ = ("_answer", "_late", "_left", "_loop", "_reading", "_task", "_timer", "_when")

    def __init__(self, seconds: float, late: Callable[[], Coroutine[None, None, None]]) -> None:
        """The time begins now. `late` sends the answer at its end."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline is a task's")
        self._task = task
        self._late = late
        self._loop = asyncio.get_running_loop()
        self._when = self._loop.time() + seconds
        # What was left when the first piece of the body was asked for.
        self._left: float | None = None
        self._reading = False
        self._answer: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = self._loop.call_at(self._when, self._ring)

    def around(self, receive: Receive) -> Receive:
        """`receive`, with the time standing still meanwhile.

        After each piece as much is left as before the first one: a form's pieces are stored as they arrive,
        and its time counts from the last.
        """

        async def read() -> Message:
            if self._left is None:
                self._left = self._when - self._loop.time()
            self._reading = True
            message = await receive()
            self._reading = False
            self._when = self._loop.time() + self._left
            if self._timer is None:  # it rang meanwhile
                self._timer = self._loop.call_at(self._when, self._ring)
            return message

        return read

    def meet(self) -> None:
        """The answer begins: however long it takes to send, it is in time.

        Raises CancelledError again when the time is over and something kept that back.
        """
        if self._answer is not None:
            raise asyncio.CancelledError
        self.stop()

    def stop(self) -> None:
        """The request has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def answered(self) -> bool:
        """For the task, when it was ended: whether that was the end of its time, and nothing else.

        The late answer is sent by then.
        """
        if self._answer is None:
            return False
        others = self._task.uncancel()
        await self._answer
        return not others

    def _ring(self) -> None:
        self._timer = None
        if self._reading:
            return  # the next piece sets the timer again
        if self._when > self._loop.time():  # time stood still since the timer was set
            self._timer = self._loop.call_at(self._when, self._ring)
            return
        self._answer = self._loop.create_task(self._late(), name="late-answer")
        self._task.cancel()
