"""One statement for all callers who ask the same kind of question at the same time.

A caller who finds fewer than `under_way` statements under way begins one, which answers all callers of this
turn of the event loop. The callers who come meanwhile wait in line, and the next statement answers them
together: they share its round trip and its commit. So a single caller waits for nobody, and the more callers
there are, the less each of them costs. A caller who is the only one of its turn runs its statement itself; a
task of its own runs a statement for several callers.

A caller who goes away takes no other caller along. If a statement for several callers fails, each of them
asks by itself, one after the other, so that an error reaches only the caller whose question causes it. The
order of the callers is chance; `turns/keyed_turns.py` keeps the order of those who need one.

docs/decisions/0032 gives the reasons and the figures.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.pool import ACQUIRE_SECONDS
from lapel.foundation.database.turns.world_shares import WORLD

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.database.pool import Database

Asked = TypeVar("Asked")
Found = TypeVar("Found")

# Of statements that only read. With one, the database is idle while this process reads the answer. With
# three, fewer callers share each.
_UNDER_WAY = 2
# Seconds after which a statement no longer keeps another one from beginning: its connection may be broken.
_SLOW = 0.25
# The most callers of one statement. It takes the database a few milliseconds, for which the next ones wait.
_MOST = 128


class _Question(Generic[Asked, Found]):
    """One question. `turn` ends with its answer. `begun`: a statement that answers it is under way."""

    __slots__ = ("asked", "begun", "deadline", "turn", "world")

    def __init__(self, asked: Asked, deadline: float, turn: asyncio.Future[Found]) -> None:
        self.asked = asked
        self.world = WORLD.get()
        self.deadline = deadline
        self.turn = turn
        self.begun = False


class Together(Generic[Asked, Found]):
    """Answers questions of one kind, several with one statement when several callers wait."""

    def __init__(
        self,
        database: Database,
        statement: Callable[[Connection, Sequence[Asked]], Awaitable[Sequence[Found]]],
        *,
        most: int = _MOST,
        under_way: int = _UNDER_WAY,
        patience: float = ACQUIRE_SECONDS,
    ) -> None:
        """`statement` answers questions in their order. It does all that they ask or, if it raises an error,
        nothing.

        `most`: callers of one statement. `under_way`: statements at the same time; two if one is slow. With
        one, the next statement for those in line begins after the answers of the one before were sent, and
        has half of the callers at most. `patience`: seconds that a caller waits in line.
        """
        self._database = database
        self._statement = statement
        self._most = most
        self._most_under_way = under_way
        self._patience = patience
        self._starts: list[float] = []  # of the statements under way, by the loop's clock
        self._watching: asyncio.TimerHandle | None = None  # of a statement that may turn out to be slow
        self._starting = False  # a statement whose callers are not chosen yet
        self._before = 0  # callers of the latest statement
        # Each world has its own line, and the lines take turns, so that no world waits behind another one's
        # many callers.
        self._lines: dict[int | None, deque[_Question[Asked, Found]]] = {}
        # All who wait, in the order of their deadlines.
        self._waiting: deque[_Question[Asked, Found]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def ask(self, asked: Asked) -> Found:
        """The answer to one question.

        Raises what the statement raises, and Unavailable when the database is unavailable or no statement
        begins in time: within `patience` in line, and again if the shared statement fails.
        """
        if not self._starting and self._has_room():
            return await self._ask_first(asked)
        loop = asyncio.get_running_loop()
        caller = _Question(asked, loop.time() + self._patience, loop.create_future())
        self._waiting.append(caller)
        if self._timer is None:
            self._timer = loop.call_at(caller.deadline, self._send_away)
        self._line_up(caller)
        self._watch()
        return await caller.turn

    async def _ask_first(self, asked: Asked) -> Found:
        """Begin a statement with this question: with all who are in line at the end of this turn of the event
        loop, or without them if nobody is."""
        start = self._count_one()
        others: list[_Question[Asked, Found]] = []
        try:
            try:
                await asyncio.sleep(0)
            finally:
                self._starting = False
            others = self._next_callers(self._most - 1)
            self._before = 1 + len(others)
            if not others:
                return await self._alone(asked)
        finally:
            if not others:
                self._end(start)
        first = _Question(asked, 0.0, asyncio.get_running_loop().create_future())
        first.begun = True
        self._run(self._answer([first, *others], start))
        self._go_on()  # with the callers who have no place in this statement
        return await first.turn

    async def _alone(self, asked: Asked) -> Found:
        async with self._database.acquire_for_all() as connection:
            return (await self._statement(connection, [asked]))[0]

    def _line_up(self, caller: _Question[Asked, Found]) -> None:
        line = self._lines.get(caller.world)
        if line is None:
            line = self._lines[caller.world] = deque()
        line.append(caller)

    def _go_on(self) -> None:
        """Begin the next statement if callers are in line, and not too many statements are under way. Its
        callers are chosen when its task runs: at the end of this turn of the event loop, or of the next."""
        if not self._lines or self._starting:
            return
        if not self._has_room():
            self._watch()
            return
        # Counted now, before those whom the latest statement has answered can ask again.
        most = self._room_of_next()
        self._run(self._answer_next(self._count_one(), most))

    def _has_room(self) -> bool:
        """Whether another statement may begin."""
        if len(self._starts) < self._most_under_way:
            return True
        if len(self._starts) >= _UNDER_WAY:
            return False
        return asyncio.get_running_loop().time() - self._starts[0] >= _SLOW

    def _watch(self) -> None:
        """For callers who wait for one statement alone: look again when it is slow."""
        if self._watching is None and self._most_under_way <= len(self._starts) < _UNDER_WAY:
            loop = asyncio.get_running_loop()
            self._watching = loop.call_at(self._starts[0] + _SLOW, self._look)

    def _look(self) -> None:
        self._watching = None
        self._go_on()

    def _count_one(self) -> float:
        """A statement begins; returns its start."""
        start = asyncio.get_running_loop().time()
        self._starts.append(start)
        self._starting = True
        return start

    def _run(self, answering: Coroutine[Any, Any, None]) -> None:
        # Its own context: it works for several requests, and for no world.
        task = asyncio.create_task(answering, name="together", context=Context())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _end(self, start: float) -> None:
        """A statement is no longer under way."""
        self._starts.remove(start)
        self._go_on()

    def _room_of_next(self) -> int:
        """The most callers of the next statement.

        With one under way at a time, it is half of those who are in line and those whom the latest one has
        answered, who may ask again. So the database works for one half while this process works for the
        other. If the next statement had all who are in line, a large and a small one would take turns for
        ever, and this process would have nothing to do while the large one is under way.
        """
        if self._most_under_way > 1:
            return self._most
        callers = self._before + sum(map(len, self._lines.values()))
        return min(self._most, (callers + 1) // 2)

    def _next_callers(self, most: int) -> list[_Question[Asked, Found]]:
        """The next callers of all worlds in turn, `most` at most, without those who are gone."""
        found: list[_Question[Asked, Found]] = []
        while self._lines and len(found) < most:
            world = next(iter(self._lines))
            line = self._lines.pop(world)
            caller = line.popleft()
            if line:
                self._lines[world] = line
            if not caller.turn.done():
                caller.begun = True
                found.append(caller)
        while self._waiting and (self._waiting[0].begun or self._waiting[0].turn.done()):
            self._waiting.popleft()
        return found

    async def _answer_next(self, start: float, most: int) -> None:
        """Answer those who are in line, `most` of them."""
        if self._most_under_way == 1:
            # The answers of the statement before are sent at the end of this turn. If the next statement
            # began now, its work would compete with that of the clients, who then ask again later.
            await asyncio.sleep(0)
        self._starting = False
        callers = self._next_callers(most)
        self._before = len(callers)
        self._go_on()  # with the callers who have no place in this statement
        await self._answer(callers, start)

    async def _answer(self, callers: list[_Question[Asked, Found]], start: float) -> None:
        """Answer these callers, together if that is possible."""
        try:
            if len(callers) > 1 and await self._answer_together(callers):
                return
            await self._answer_each(callers)
        finally:
            for caller in callers:
                if not caller.turn.done():  # this task was cancelled
                    caller.turn.cancel()
            self._end(start)

    async def _answer_together(self, callers: list[_Question[Asked, Found]]) -> bool:
        """Whether one statement has answered all of them. If the database is away, all of them are told."""
        try:
            async with self._database.acquire_for_all() as connection:
                answers = await self._statement(connection, [each.asked for each in callers])
        except Unavailable as error:
            for each in callers:
                _refuse(each.turn, type(error)(error.message))
            return True
        except Exception:  # noqa: BLE001 - each caller asks by itself, and gets the error that it causes
            return False
        for each, answer in zip(callers, answers, strict=True):
            if not each.turn.done():
                each.turn.set_result(answer)
        return True

    async def _answer_each(self, callers: list[_Question[Asked, Found]]) -> None:
        """Answer them one after the other. When the patience is over, the rest get Unavailable."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        for caller in callers:
            if loop.time() <= until:
                await self._answer_alone(caller)
            else:
                _refuse(caller.turn, _too_late())

    async def _answer_alone(self, caller: _Question[Asked, Found]) -> None:
        if caller.turn.done():
            return
        try:
            answer = await self._alone(caller.asked)
        except Exception as error:  # noqa: BLE001 - it is the caller's
            _refuse(caller.turn, error)
        else:
            if not caller.turn.done():
                caller.turn.set_result(answer)

    def _send_away(self) -> None:
        """End the wait of callers whose time is over; set the timer for the first that still waits."""
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._waiting:
            first = self._waiting[0]
            if not first.begun and not first.turn.done():
                if first.deadline > loop.time():
                    self._timer = loop.call_at(first.deadline, self._send_away)
                    return
                _refuse(first.turn, _too_late())
            self._waiting.popleft()


def _too_late() -> Unavailable:
    return Unavailable("The database does not answer. Repeat the request.")


def _refuse(turn: asyncio.Future[Found], error: Exception) -> None:
    if not turn.done():
        turn.set_exception(error)
