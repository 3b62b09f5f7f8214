"""Every named crash point is hit once by a hard exit; the client repeats, and everything agrees."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeAlias

import httpx
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.hosting.sockets import listen
from lapel.slices.erasure.slice import SLICE as ERASURE
from lapel.slices.recordings.slice import SLICE as RECORDINGS
from tests.faults import bucket
from tests.faults.checker import Finding
from tests.faults.conclude import conclude
from tests.faults.journal import Journal
from tests.faults.lives import (
    INLINE_BYTES,
    Life,
    abandoned,
    deleted,
    deleted_half_done,
    forgotten,
    held,
    illustrated,
    large,
    plain,
    refused_first,
    refused_later,
)
from tests.faults.processes import CRASHED, armed, errand, instructions, process
from tests.faults.rest import AHEAD, empty
from tests.faults.stubborn import Stubborn
from tests.support.client import api_client
from tests.support.postgres import create_database, drop_database
from tests.support.running import Running, running, settings_for, until_worker
from tests.support.tenants import Tenant, make_tenant

Lived: TypeAlias = Callable[[Life], Awaitable[None]]
CRASH_POINTS = (*RECORDINGS.crash_points, *ERASURE.crash_points)
STAGES = sorted({point.partition(":")[0] for point in CRASH_POINTS})
# The process dies there after an answer, so nobody waits for it.
AFTER_THE_ANSWER = ("complete:before-deletion", "complete:staging-deleted")
# `make test` has these; the others take longer.
QUICK = ("hold",)


@dataclass(frozen=True, slots=True)
class World:
    """A server that stays, beside which processes die at one point after the other; one database, one bucket.

    The process that follows a dead one finishes what that left, and dies at the next point.
    """

    haven: Running
    tenant: Tenant
    journal: Journal
    folder: Path
    points: Sequence[str]
    http: httpx.AsyncClient
    missed: list[Finding] = field(default_factory=list[Finding])

    @property
    def crash(self) -> str:
        """Instructions for all points; nothing dies at a point before `each` comes to it."""
        return instructions(self.folder, self.points)

    async def each(self, happen: Callable[[str, Path], Awaitable[None]]) -> None:
        """Arm one point after the other, and let something happen with the point and its marker."""
        for point in self.points:
            _, marker = armed(self.folder, point)
            await happen(point, marker)
            if marker.exists():
                self.missed.append(Finding("point-not-reached", point))
                marker.unlink()

    async def live(self, point: str, addresses: list[str], *lives: Lived) -> None:
        """Live these lives, one after the other, against the first address that answers."""
        client = Stubborn(self.http, addresses, self.journal)
        random = Random(point)
        answer = await client.api(
            "POST",
            "/end-users",
            self.tenant.test_key,
            body={},
            key=f"k{random.getrandbits(64)}",
            allowed=(201,),
        )
        for each in lives:
            life = Life(client, self.tenant.test_key, answer.json()["id"], random)
            await each(life)
            print(point, life.recording_id)  # a finding names its recording


async def in_api(world: World, *lives: Lived, worker: bool = False) -> None:
    """An API process dies; the repeat finds the other one."""
    listener = listen("127.0.0.1", 0)[0]
    port: int = listener.getsockname()[1]
    kept = world.haven.settings
    settings = settings_for(
        kept.data_dir,
        kept.database_url or "",
        port,
        LAPEL_S3_ENDPOINT=kept.s3_endpoint or "",
        LAPEL_PUBLIC_URL=world.haven.url,
        LAPEL_INLINE_HASH_BYTES=str(INLINE_BYTES),
    )
    addresses = [f"http://127.0.0.1:{port}", world.haven.url]
    async with AsyncExitStack() as stack:
        stack.enter_context(listener)
        await stack.enter_async_context(process("api", settings, crash=world.crash, listener=listener))
        if worker:
            await stack.enter_async_context(process("worker", settings))
            await until_worker(world.haven)

        async def happen(point: str, marker: Path) -> None:
            await world.live(point, addresses, *lives)
            if point in AFTER_THE_ANSWER:
                while marker.exists():  # noqa: ASYNC110, ASYNC240 - another process removes it
                    await asyncio.sleep(0.05)

        await world.each(happen)


async def in_worker(world: World, *lives: Lived) -> None:
    """The worker dies in the middle of a job, and is started again; it leaves nothing to the next point's."""

    async def happen(point: str, marker: Path) -> None:
        await world.live(point, [world.haven.url], *lives)
        while marker.exists():  # noqa: ASYNC110, ASYNC240 - another process removes it
            await asyncio.sleep(0.05)
        async with world.haven.ports.database.acquire() as connection:
            await empty(connection)

    async with process("worker", world.haven.settings, crash=world.crash):
        await world.each(happen)


async def in_reconciler(world: World) -> None:
    """What comes round dies in the middle of it, days later, with all kinds of things to find."""
    settings = world.haven.settings
    project = world.tenant.project_id
    staged = f"staging/{project}/rec_0/med_0/att_0"
    begun_long_ago = f"att_{'0' * 24}-{'0' * 24}"
    copied = f"media/{project}/rec_0/med_0/{begun_long_ago}/audio.opus"

    async def unused(life: Life) -> None:
        await life.create()
        await life.link(life.content())

    async def happen(point: str, marker: Path) -> None:
        await world.live(point, [world.haven.url], plain, unused, abandoned, abandoned, abandoned)
        for name in (staged, copied):
            await asyncio.to_thread(bucket.put, settings, name, b"nobody's")
        for _ in range(3):
            if await errand(settings, world.crash, AHEAD) == CRASHED:
                return

    await world.each(happen)


@dataclass(frozen=True, slots=True)
class Stage:
    """What happens at each point of a stage, and how many points there are in one world."""

    scenario: Callable[[World], Awaitable[None]]
    together: int = 20


SCENARIOS: dict[str, Stage] = {
    "upload-url": Stage(lambda world: in_api(world, plain, illustrated)),
    "complete": Stage(lambda world: in_api(world, plain, refused_first)),
    "verify": Stage(lambda world: in_api(world, large, worker=True)),
    # Each point waits until the dead worker's jobs are taken again.
    "hash": Stage(lambda world: in_worker(world, large, refused_later), 6),
    "delete": Stage(lambda world: in_api(world, deleted)),
    "hold": Stage(lambda world: in_api(world, held)),
    "delete-all": Stage(lambda world: in_worker(world, forgotten)),
    "release": Stage(lambda world: in_worker(world, held)),
    "erase": Stage(lambda world: in_worker(world, deleted_half_done)),
    "reconcile": Stage(in_reconciler),
}


async def crash_in_world(
    points: Sequence[str], stage: Stage, postgres: EmbeddedPostgres, folder: Path
) -> list[Finding]:
    """A new world, in which these points are hit; what is wrong when it has come to rest."""
    folder.mkdir()  # noqa: ASYNC240
    journal = Journal(folder / "journal.jsonl")
    database = f"crash_{points[0]}"
    dsn = await asyncio.to_thread(create_database, postgres, database, "template")
    async with AsyncExitStack() as stack:
        stack.callback(journal.close)
        haven = await stack.enter_async_context(
            running(folder / "data", dsn, clock=None, LAPEL_INLINE_HASH_BYTES=str(INLINE_BYTES))
        )
        http = await stack.enter_async_context(api_client())
        world = World(haven, await make_tenant(haven.ports), journal, folder, points, http)
        await stage.scenario(world)
        journal.close()
        findings = await conclude(haven, world.tenant, journal)
    await asyncio.to_thread(drop_database, postgres, database)
    return [*world.missed, *findings]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "name", [each if each in QUICK else pytest.param(each, marks=pytest.mark.deep) for each in STAGES]
)
async def test_a_crash_at_any_step_breaks_no_promise(
    name: str, postgres: EmbeddedPostgres, quick_folder: Path
) -> None:
    stage = SCENARIOS[name]
    points = [point for point in CRASH_POINTS if point.partition(":")[0] == name]
    worlds = [points[first : first + stage.together] for first in range(0, len(points), stage.together)]
    outcomes = await asyncio.gather(
        *(
            crash_in_world(each, stage, postgres, quick_folder / str(number))
            for number, each in enumerate(worlds)
        )
    )
    assert outcomes == [[] for _ in worlds]
