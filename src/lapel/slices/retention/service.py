"""The rules of retention: what falls due is shown beforehand, and erased by an hourly run.

A run takes the worlds in turn, a batch of each, so that a world with very many due recordings delays no
other world. It takes them in any order, so that the same ones are not left over each time. Each batch is a
transaction of its own: it locks due recordings, writes their ledger entries, and deletes them. So a killed
run has done some batches as a whole, and the next run does the rest. Runs of several workers at once take
different recordings, because they skip locked rows.
"""

from __future__ import annotations

from collections import deque
from contextlib import AsyncExitStack, aclosing
from datetime import timedelta
from random import SystemRandom
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import structlog

from lapel.foundation.core.clock import EPOCH
from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.pool import StatementTimedOut
from lapel.slices.end_users.service import share_all
from lapel.slices.retention import queries
from lapel.slices.retention.previews import Previews
from lapel.slices.retention.queries import BATCH, ERASED, KINDS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import datetime
    from random import Random

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.configuration.service import Level
    from lapel.slices.recordings.service import ErasedKind, Recordings
    from lapel.slices.retention.rows import DueRecordingRow

__all__ = ["ERASED", "Retention"]

# Rules that one statement checks.
_RULES = 500
# The most turns of a run; a turn is one batch. More work is left for the next run.
_TURNS = 10_000
# After this time since it fell due, something that is not erased yet counts as late.
LATE = timedelta(hours=24)

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class _Turn(NamedTuple):
    """What a world did. `is_batch` is false for a page of rules, which takes no turn of a run."""

    kind: ErasedKind
    erased: int
    is_batch: bool


class Retention:
    """The eraser, and the preview (`previews`). Methods raise Unavailable while the database is away."""

    def __init__(
        self,
        ports: Ports,
        recordings: Recordings,
        *,
        batch: int = BATCH,
        turns: int = _TURNS,
        random: Random | None = None,
    ) -> None:
        """`batch`: the recordings of one transaction, at most `BATCH`. `turns`: the most turns of a run.
        `random` draws the order of the worlds."""
        self._ports = ports
        self._random = random or SystemRandom()
        self._batch = batch
        self._turns = turns
        self._recordings = recordings
        self.previews = Previews(ports)

    async def run(self) -> dict[ErasedKind, int]:
        """Erase what is due, of all worlds. Returns the number of recordings and of audio.

        A world that fails is left for the next run, and does not stop the others.
        """
        crash_point("retention:begin")
        erased: dict[ErasedKind, int] = dict.fromkeys(KINDS, 0)
        now = self._ports.clock.now()
        async with self._ports.database.acquire() as connection:
            worlds = await queries.worlds(connection)
        self._random.shuffle(worlds)
        left = self._turns
        waiting = deque((world_id, self._turns_of(world_id, now)) for world_id in worlds)
        async with AsyncExitStack() as closing:
            for _, turns in waiting:
                closing.push_async_callback(turns.aclose)
            while waiting and left > 0:
                world_id, turns = waiting.popleft()
                done = await self._turn(world_id, turns)
                if done is not None:
                    left -= done.is_batch
                    erased[done.kind] += done.erased
                    waiting.append((world_id, turns))
        if any(erased.values()):
            _log.info("retention.erased", recordings=erased["recording"], audio=erased["audio"])
        return erased

    async def find_late(self) -> tuple[int, int]:
        """The number of worlds with a rule, and of those in which something is late by more than `LATE`.

        A world whose search takes too long counts as late.
        """
        late = self._ports.clock.now() - LATE
        async with self._ports.database.acquire() as connection:
            worlds = await queries.worlds(connection)
        return len(worlds), sum([await self._has_due(world_id, late) for world_id in worlds])

    async def _turn(self, world_id: int, turns: AsyncGenerator[_Turn]) -> _Turn | None:
        """The next turn of a world. None when the world has no more, or when it fails."""
        try:
            return await anext(turns, None)
        except StatementTimedOut as error:  # before Unavailable: the database does answer other worlds
            _log.error("retention.stuck", world=world_id, exc_info=error)
        except Unavailable:
            raise
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            _log.warning("retention.locked", world=world_id, error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - a world that fails must not stop the others
            _log.error("retention.stuck", world=world_id, exc_info=error)
        return None

    async def _has_due(self, world_id: int, moment: datetime) -> bool:
        try:
            for kind in KINDS:
                async with aclosing(self._rules(world_id, moment, kind)) as pages:
                    async for rules in pages:
                        for rule in rules:
                            if await self._makes_due(world_id, moment, kind, rule):
                                return True
        except StatementTimedOut:  # a run stops at the same place
            return True
        return False

    async def _makes_due(
        self, world_id: int, moment: datetime, kind: ErasedKind, rule: tuple[Level, str]
    ) -> bool:
        after: tuple[datetime, str] | None = (EPOCH, "")
        while after is not None:
            async with self._ports.database.acquire() as connection:
                found, after = await self._find(connection, world_id, moment, kind, rule, after)
            if found:
                return True
        return False

    async def _turns_of(self, world_id: int, now: datetime) -> AsyncGenerator[_Turn]:
        """Erase what is due in a world, one batch a turn. Yields after a page of rules too, for others."""
        for kind in KINDS:
            async with aclosing(self._rules(world_id, now, kind)) as pages:
                async for rules in pages:
                    yield _Turn(kind, 0, is_batch=False)
                    for rule in rules:
                        after: tuple[datetime, str] | None = (EPOCH, "")
                        while after is not None:
                            count, after = await self._erase_batch(world_id, now, kind, rule, after)
                            yield _Turn(kind, count, is_batch=True)

    async def _rules(
        self, world_id: int, moment: datetime, kind: ErasedKind
    ) -> AsyncGenerator[list[tuple[Level, str]]]:
        """The rules of a kind that may make something due, page by page. A page may be empty."""
        last = ("", "")
        while True:
            async with self._ports.database.acquire() as connection:
                rules = await queries.rules(connection, world_id, moment, kind, last, _RULES)
            yield [(rule.level, rule.subject_id) for rule in rules if rule.may_have_due]
            if len(rules) < _RULES:
                return
            last = (rules[-1].level, rules[-1].subject_id)

    async def _erase_batch(
        self,
        world_id: int,
        now: datetime,
        kind: ErasedKind,
        rule: tuple[Level, str],
        after: tuple[datetime, str],
    ) -> tuple[int, tuple[datetime, str] | None]:
        """Erase the next batch of a rule. Returns the number, and where the search for it ended.

        The place is None after the last batch. The next batch starts after it, because the index entries of
        deleted rows stay until a vacuum, and because locked rows and held ones stay.
        """
        deletion = self._recordings.deletion
        erase = deletion.delete_old if kind == "recording" else deletion.erase_old_audio
        async with self._ports.database.transaction() as connection:
            found, end = await self._find(connection, world_id, now, kind, rule, after)
            if not found:
                return 0, end
            # As everywhere, the end users before their recordings.
            await share_all(connection, world_id, {row.end_user_id for row in found})
            ids = [row.id for row in found]
            due = await queries.claim(connection, world_id, now, kind, rule, ids)
            crash_point("retention:locked")
            count = await erase(connection, world_id, due, self._ports.clock.now()) if due else 0
            await queries.add_erased(connection, kind, count, now)
            crash_point("retention:before-commit")
        crash_point("retention:committed")
        return count, end

    async def _find(
        self,
        connection: Connection,
        world_id: int,
        now: datetime,
        kind: ErasedKind,
        rule: tuple[Level, str],
        after: tuple[datetime, str],
    ) -> tuple[list[DueRecordingRow], tuple[datetime, str] | None]:
        """Search on after a place. Returns what is due, and where the search ended; None: at the last one."""
        found = await queries.find(connection, world_id, now, kind, rule, after, self._batch)
        if len(found) == self._batch:
            return found, (found[-1].received_at, found[-1].id)
        end = await queries.find_end(connection, world_id, now, kind, rule, after)
        return found, None if end is None else (end.received_at, end.id)
