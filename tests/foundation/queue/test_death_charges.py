"""Work is charged with the death of its worker alone: with no claim, and no restart of the database."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.pool import Database
from lapel.foundation.queue.death_charges import DeathCharges, LeaseLost
from tests.support.memory import folder_in_memory
from tests.support.patience import LONG, patience
from tests.support.postgres import create_database, start_postgres

MAKE = """
CREATE TABLE work (world_id bigint, id text, lease text, charges text[] NOT NULL DEFAULT '{}');
INSERT INTO work VALUES (1, 'ours', 'held'), (1, 'other', 'held')
"""
CHARGE = """
UPDATE work SET charges = charges || $3::text WHERE world_id = $1 AND id = $2 AND lease = $4
RETURNING cardinality(charges)
"""
TAKE_BACK = "UPDATE work SET charges = array_remove(charges, $3) WHERE world_id = $1 AND id = $2"
OURS = (1, "ours", "held")

# A worker that is at work until it is killed.
WORKER = f"""
import asyncio, sys
from lapel.foundation.database.pool import Database
from lapel.foundation.queue.death_charges import DeathCharges

async def main():
    database = Database(sys.argv[1])
    await database.open()
    async with DeathCharges(database, charge={CHARGE!r}, take_back={TAKE_BACK!r}).at(1, "ours", "held"):
        print("at work", flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


def charges_of(database: Database) -> DeathCharges:
    return DeathCharges(database, charge=CHARGE, take_back=TAKE_BACK)


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[Database]:
    database = Database(url)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def starts(database: Database, work: str = "ours") -> int:
    async with database.acquire() as connection:
        return await connection.fetchval("SELECT cardinality(charges) FROM work WHERE id = $1", work)


@pytest.fixture
async def filled(database: Database) -> Database:
    async with database.acquire() as connection:
        await connection.execute(MAKE)
    return database


async def test_work_is_charged_while_a_worker_is_at_it_whatever_ends_it(filled: Database) -> None:
    charges = charges_of(filled)
    async with charges.at(*OURS):
        assert (await starts(filled), await starts(filled, "other")) == (1, 0)
    assert await starts(filled) == 0
    with pytest.raises(ZeroDivisionError):
        async with charges.at(*OURS):
            raise ZeroDivisionError
    assert await starts(filled) == 0


async def test_who_has_lost_the_lease_charges_nothing(filled: Database) -> None:
    with pytest.raises(LeaseLost):
        async with charges_of(filled).at(1, "ours", "of another"):
            raise AssertionError("it was begun")
    await charges_of(filled).take_back()
    assert await starts(filled) == 0


async def test_each_of_several_at_once_takes_back_its_own(filled: Database) -> None:
    charges = charges_of(filled)

    async def work(name: str) -> None:
        async with charges.at(1, name, "held"):
            await asyncio.sleep(0)

    async with filled.acquire() as connection:
        await connection.execute("UPDATE work SET charges = '{a,b,c}'")
    await asyncio.gather(*(work(name) for name in ("ours", "other") * 8))
    assert (await starts(filled), await starts(filled, "other")) == (3, 3)


async def test_a_killed_worker_leaves_its_charge(filled: Database, fresh_database: str) -> None:
    command = [sys.executable, "-c", WORKER, fresh_database]
    for deaths in (1, 2):
        worker = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        assert worker.stdout is not None
        assert await worker.stdout.readline() == b"at work\n"
        worker.kill()
        await worker.wait()
        assert await starts(filled) == deaths


async def test_a_charge_that_was_not_written_takes_back_no_death_of_another(filled: Database) -> None:
    """The worker cannot know: its connection broke while the statement was under way."""
    async with filled.acquire() as connection:
        await connection.execute("UPDATE work SET charges = '{of_the_dead}'")
        await connection.execute("ALTER TABLE work ADD CHECK (cardinality(charges) < 2)")
    charges = charges_of(filled)
    with pytest.raises(asyncpg.CheckViolationError):
        async with charges.at(*OURS):
            raise AssertionError("it was begun")
    await charges.take_back()
    assert await starts(filled) == 1


async def test_a_charge_is_taken_back_late_beside_a_death_that_came_later(filled: Database) -> None:
    """As when the work has moved on to another step meanwhile, and with it all its charges."""
    charges = charges_of(filled)
    async with charges.at(*OURS):
        await filled.close()
    await filled.open()
    async with filled.acquire() as connection:
        await connection.execute("UPDATE work SET charges = '{of_the_dead}' WHERE id = 'ours'")
    await charges.take_back()
    assert await starts(filled) == 1


@pytest.mark.deep
async def test_a_worker_outlives_kills_of_the_database(tmp_path: Path) -> None:
    with folder_in_memory(tmp_path) as folder:
        server = start_postgres(folder)
        async with opened(create_database(server, "killed")) as database:
            async with database.acquire() as connection:
                await connection.execute(MAKE)
            charges = charges_of(database)
            for _ in range(6):
                async with charges.at(*OURS):
                    os.kill(server.pid, signal.SIGKILL)
                    await asyncio.to_thread(server.stop)
                server = start_postgres(folder)
                async with patience(LONG):
                    while True:
                        try:
                            await charges.take_back()  # as before each claim
                            break
                        except Unavailable:
                            await asyncio.sleep(0.05)
                assert await starts(database) == 0
        server.stop()
