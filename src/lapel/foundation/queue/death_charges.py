"""Charges work with the death of the worker that is at it.

A charge is written when the work begins, and taken back when it ends in whatever way, so only the death of
the worker leaves it. Work that was claimed and had not begun is never charged. A worker that lives, and
cannot reach the database at the end of the work, takes the charge back before it begins other work.

Each charge has a name. So a worker that does not know whether its charge was written takes back this charge
or nothing, and never the death of another worker. docs/decisions/0046 gives the reasons.
"""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

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


class DeathCharge(NamedTuple):
    """One charge. `key`: of the work. `total`: how many charges the work has, with this one; 0 if nobody
    knows."""

    name: str
    key: tuple[object, ...]
    total: int


class DeathCharges:
    """The charges of one worker process, of one kind of work.

    Every method that waits raises Unavailable when the database is away.
    """

    def __init__(self, database: Database, *, charge: str, take_back: str) -> None:
        """Both statements take the parts of the work's key and the name of the charge, in this order;
        `charge` takes the lease as the last one, if the work has one. `charge` adds the charge and returns
        the number of charges, or no row if the work may not begin. `take_back` removes the charge, if it is
        there."""
        self._database = database
        self._charge = charge
        self._take_back = take_back
        self._survived: list[DeathCharge] = []

    async def write(self, key: tuple[object, ...], *lease: str) -> DeathCharge | None:
        """Charge the work; None if it may not begin."""
        charge = DeathCharge(secrets.token_hex(8), key, 0)
        try:
            async with self._database.acquire() as connection:
                total: int | None = await connection.fetchval(self._charge, *key, charge.name, *lease)
        except BaseException:  # nobody knows whether it was written
            self.survive(charge)
            raise
        return None if total is None else charge._replace(total=total)

    def survive(self, charge: DeathCharge) -> None:
        """Note that the work has ended and this worker lives. The next `take_back` removes the charge."""
        self._survived.append(charge)

    async def take_back(self) -> None:
        """Remove the charges that this worker has survived. Call this before work begins."""
        while self._survived:
            charge = self._survived.pop()
            try:
                async with self._database.acquire() as connection:
                    await connection.execute(self._take_back, *charge.key, charge.name)
            except BaseException:
                self._survived.append(charge)
                raise

    @asynccontextmanager
    async def at(self, world_id: int, work_id: str, lease: str) -> AsyncGenerator[None]:
        """Charge leased work during the block. Entering the block raises LeaseLost when the lease is lost."""
        charge = await self.write((world_id, work_id), lease)
        if charge is None:
            raise LeaseLost
        try:
            yield
        finally:
            self.survive(charge)
            # If it fails, the worker does it before its next claim.
            with suppress(Unavailable, asyncpg.PostgresError, *DATABASE_AWAY):
                await self.take_back()
