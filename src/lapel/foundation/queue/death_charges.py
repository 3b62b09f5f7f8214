"""Charges work with the death of the worker that is at it.

A charge is written when the work begins, and taken back when it ends in whatever way, so only the death of
the worker leaves it. Work that was claimed and had not begun is never charged. A worker that lives, and
cannot reach the database at the end of the work, takes the charge back before it claims other work.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg

from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.pool import DATABASE_AWAY

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lapel.foundation.database.pool import Database

MOST_DEATHS = 20
"""Work is given up after so many deaths; with the pauses, not before eight minutes have passed. So work that
is not the cause of the deaths, as when the whole server is killed again and again, has time to end."""


def pause_after(deaths: str) -> str:
    """SQL: how long work waits after so many deaths (an expression): 0, 1, 3, 7, 15, and then 30 seconds."""
    return f"least(30, power(2, least({deaths}, 10)) - 1) * interval '1 second'"


class LeaseLost(Exception):
    """Another worker has the work."""


class DeathCharges:
    """The charges of one worker process."""

    def __init__(self, database: Database, *, charge: str, take_back: str) -> None:
        """Both statements take the world and the id of the work ($1, $2). `charge` adds a death to work with
        the lease $3, and returns its id; `take_back` subtracts one."""
        self._database = database
        self._charge = charge
        self._take_back = take_back
        self._survived: list[tuple[int, str]] = []

    @asynccontextmanager
    async def at(self, world_id: int, work_id: str, lease: str) -> AsyncGenerator[None]:
        """Charge the work during the block.

        Entering the block raises LeaseLost, and Unavailable when the database is away.
        """
        try:
            async with self._database.acquire() as connection:
                charged: str | None = await connection.fetchval(self._charge, world_id, work_id, lease)
        except BaseException:  # nobody knows whether it was written
            self._survived.append((world_id, work_id))
            raise
        if charged is None:
            raise LeaseLost
        try:
            yield
        finally:
            self._survived.append((world_id, work_id))
            # If it fails, the worker does it before its next claim.
            with suppress(Unavailable, asyncpg.PostgresError, *DATABASE_AWAY):
                await self.take_back()

    async def take_back(self) -> None:
        """Subtract what this worker has survived. Call this before each claim. Raises Unavailable when the
        database is away."""
        while self._survived:
            of = self._survived.pop()
            try:
                async with self._database.acquire() as connection:
                    await connection.execute(self._take_back, *of)
            except BaseException:
                self._survived.append(of)
                raise
