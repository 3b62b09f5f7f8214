"""The deadline of a request: a limit for the time until its answer, whatever the request waits for.

The time stops while the server waits for the request's body, so it counts from the last byte. At the
deadline, a separate task sends a 503 at once, and the request's task is cancelled. Cancelling ends every wait
of the task: for a place, a connection, a statement, a lock, the store. The task then rolls its transaction
back, which may take longer if the database hangs; the client does not wait for the rollback.

Source: "Task Cancellation", documentation of asyncio.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from lapel.foundation.core.asgi import Message, Receive

# A deadline may fire this many seconds late, or an eighth of the usual time late if that is less.
_LATE = 0.25


class Deadlines:
    """The deadlines of all requests under way.

    One timer checks all deadlines, because a timer for each request would cost more than finding the route.
    The timer runs only while a request is under way.
    """

    def __init__(self, seconds: float) -> None:
        """`seconds`: the usual time limit."""
        self._seconds = seconds
        self._every = min(_LATE, seconds / 8)
        self._running: set[Deadline] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(
        self, times: float, late: Callable[[], Coroutine[None, None, None]], receive: Receive
    ) -> Deadline:
        """Begin the deadline of the calling task: from now, the usual time limit multiplied by `times`.

        `late` sends the answer when the time is over. `receive`: of the request; see `Deadline.receive`.
        Raises RuntimeError outside of a task.
        """
        loop = self._loop
        if loop is None:  # asking for the running loop is a system call
            loop = self._loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a deadline needs a task")
        if self._timer is None:
            self._timer = loop.call_later(self._every, self._look)
        deadline = Deadline(task, loop, loop.time() + self._seconds * times, late, receive, self._running)
        self._running.add(deadline)
        return deadline

    def _look(self) -> None:
        loop = self._loop
        if not self._running or loop is None:
            self._timer = None
            return
        self._timer = loop.call_later(self._every, self._look)
        now = loop.time()
        for deadline in [each for each in self._running if each.is_over(now)]:
            deadline.end()


class Deadline:
    """The deadline of one request; made by Deadlines."""

    __slots__ = (
        "_answer", "_late", "_left", "_loop", "_reading", "_receive", "_running", "_task", "_when",
    )  # fmt: skip

    def __init__(
        self,
        task: asyncio.Task[object],
        loop: asyncio.AbstractEventLoop,
        when: float,
        late: Callable[[], Coroutine[None, None, None]],
        receive: Receive,
        running: set[Deadline],
    ) -> None:
        """`when`: the deadline, in seconds by the loop's clock."""
        self._task = task
        self._loop = loop
        self._when = when
        self._late = late
        self._receive = receive
        self._running = running
        # The time that was left when the first piece of the body was requested.
        self._left: float | None = None
        self._reading = False
        self._answer: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        """The request's `receive`; the time stops while it waits.

        After each piece, as much time is left as before the first piece. So the time counts from the last
        piece, even though the server stores the pieces of a form as they arrive.
        """
        if self._left is None:
            self._left = self._when - self._loop.time()
        self._reading = True
        message = await self._receive()
        self._reading = False
        self._when = self._loop.time() + self._left
        return message

    def meet(self) -> None:
        """Call this when the answer begins. Then the deadline no longer applies, however long sending takes.

        Raises CancelledError when the deadline has passed and code has suppressed the task's cancellation.
        """
        if self._answer is not None:
            raise asyncio.CancelledError
        self.stop()

    def stop(self) -> None:
        """Call this when the request has ended."""
        self._running.discard(self)

    async def answered(self) -> bool:
        """Whether the deadline alone ended the task. The task calls this after an error.

        Returns after the late answer is sent.
        """
        if self._answer is None:
            return False
        others = self._task.uncancel()
        await self._answer
        return not others

    def is_over(self, now: float) -> bool:
        """Whether the deadline has passed; `now` is by the loop's clock."""
        return not self._reading and self._when <= now

    def end(self) -> None:
        """Send the late answer and cancel the task, because the deadline has passed."""
        self.stop()
        self._answer = self._loop.create_task(self._late(), name="late-answer")
        self._task.cancel()
