"""The line of callers that wait for the one model of this machine."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from lapel.foundation.database.turns.rounds import Rounds
from lapel.slices.language_models.model_failures import ModelAway

if TYPE_CHECKING:
    from lapel.slices.language_models.language_model import Purpose

# Callers that may wait, of all worlds and of one.
_MOST, _MOST_OF_A_WORLD = 64, 8


@dataclasses.dataclass(slots=True, eq=False)
class _InLine:
    world: int
    purpose: Purpose
    number: int
    turn: asyncio.Future[None]


class GenerationLine:
    """One caller at a time. The next is of the world whose last turn is the longest ago; of its callers, one
    for an answer that a user waits for, before one for a summary; else the first that came.

    `patience`: seconds that a caller waits at most, by its purpose.
    """

    def __init__(self, patience: Mapping[Purpose, float]) -> None:
        self._patience = patience
        self._busy = False
        self._waiting: list[_InLine] = []
        self._arrivals = 0
        self._rounds = Rounds()

    @asynccontextmanager
    async def turn(self, world: int, purpose: Purpose) -> AsyncGenerator[bool]:
        """Wait for a turn, which lasts as long as the block. The value: whether the turn before was of the
        same world.

        Raises ModelAway when too many callers wait, or the turn does not come in time.
        """
        if self._busy:
            await self._wait(world, purpose)
        self._busy = True
        same = self._rounds.had_last((world,))
        self._rounds.take((world,))
        try:
            yield same
        finally:
            self._pass_on()

    async def _wait(self, world: int, purpose: Purpose) -> None:
        patience = self._patience[purpose]
        of_the_world = sum(each.world == world for each in self._waiting)
        if len(self._waiting) >= _MOST or of_the_world >= _MOST_OF_A_WORLD:
            raise ModelAway(
                "Too many requests wait for the local language model.", how="busy", after=patience
            )
        self._arrivals += 1
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = _InLine(world, purpose, self._arrivals, turn)
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(patience):
                await turn
        except TimeoutError:
            if turn.done() and not turn.cancelled():
                self._pass_on()  # the turn came at the last moment
            raise ModelAway(
                f"The local language model was busy for {patience:g} s.", how="busy", after=patience
            ) from None
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()
            raise
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    def _pass_on(self) -> None:
        """Give the turn to the next caller. The line stays busy until nobody waits."""
        waiting = [each for each in self._waiting if not each.turn.done()]
        if not waiting:
            self._busy = False
            return
        following = min(
            waiting,
            key=lambda each: (self._rounds.rank((each.world,)), each.purpose != "ask", each.number),
        )
        self._waiting.remove(following)
        following.turn.set_result(None)
