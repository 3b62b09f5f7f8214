"""Every named crash point is hit once by a hard exit; the client repeats, and everything agrees."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

import httpx
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.hosting.listener import listen
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
    forgotten,
    illustrated,
    large,
    plain,
    refused_first,
    refused_later,
)
from tests.faults.processes import CRASHED, armed, errand, process
from tests.faults.rest import AHEAD, empty
from tests.faults.stubborn import Stubborn
from tests.support.postgres import create_database, drop_database
from tests.support.running import Running, running, settings_for
from tests.support.tenants import Tenant, make_tenant

AT_ONCE = 5
WORKING = "SELECT EXISTS (SELECT 1 FROM workers)"
CRASH_POINTS = (*RECORDINGS.crash_points, *ERASURE.crash_points)
STAGES = sorted({point.partition(":")[0] for point in CRASH_POINTS})


@dataclass(frozen=True, slots=True)
class Scene:
    """A server that stays, beside which a process dies at one point; one database and one bucket for both."""

    haven: Running
    tenant: Tenant
    journal: Journal
    crash: str
    marker: Path
    http: httpx.AsyncClient

    @property
    def point(self) -> str:
        return self.crash.partition("@")[0]

    async def live(self, addresses: list[str], *lives: Callable[[Life], Awaitable[None]]) -> None:
        """Live these lives, one after the other, against the first address that answers."""
        client = Stubborn(self.http, addresses, self.journal)
        random = Random(self.point)
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
            print(self.point, life.recording_id)  # a finding names its recording


async def in_api(scene: Scene, *lives: Callable[[Life], Awaitable[None]], worker: bool = False) -> None:
    """An API process dies; the repeat finds the other one."""
    listener = listen("127.0.0.1", 0)[0]
    port: int = listener.getsockname()[1]
    kept = scene.haven.settings
    settings = settings_for(
        kept.data_dir,
        kept.database_url or "",
        port,
        LAPEL_S3_ENDPOINT=kept.s3_endpoint or "",
        LAPEL_PUBLIC_URL=scene.haven.url,
        LAPEL_INLINE_HASH_BYTES=str(INLINE_BYTES),
    )
    async with AsyncExitStack() as stack:
        stack.enter_context(listener)
        await stack.enter_async_context(process("api", settings, crash=scene.crash, listener=listener))
        if worker:
            await stack.enter_async_context(process("worker", settings))
            await worker_seen(scene.haven)
        await scene.live([f"http://127.0.0.1:{port}", scene.haven.url], *lives)


async def worker_seen(haven: Running) -> None:
    """Until then completions of large objects are refused with 503, and the repeat goes elsewhere."""
    async with haven.ports.database.acquire() as connection:
        while not await connection.fetchval(WORKING):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.05)


async def in_worker(scene: Scene, *lives: Callable[[Life], Awaitable[None]]) -> None:
    """The worker dies in the middle of a job, and is started again; it leaves nothing to the next point's."""
    async with process("worker", scene.haven.settings, crash=scene.crash):
        await scene.live([scene.haven.url], *lives)
        while scene.marker.exists():  # noqa: ASYNC110 - another process removes it
            await asyncio.sleep(0.05)
        async with scene.haven.ports.database.acquire() as connection:
            await empty(connection)


async def in_reconciler(scene: Scene) -> None:
    """What comes round dies in the middle of it, days later, with all kinds of things to find."""

    async def unused(life: Life) -> None:
        await life.create()
        await life.link(life.content())

    await scene.live([scene.haven.url], plain, unused, abandoned, abandoned, abandoned)
    settings = scene.haven.settings
    project = scene.tenant.project_id
    copy = f"att_{'0' * 24}-{'0' * 24}"  # begun long ago
    for name in (f"staging/{project}/rec_0/med_0/att_0", f"media/{project}/rec_0/med_0/{copy}/audio.opus"):
        await asyncio.to_thread(bucket.put, settings, name, b"nobody's")
    for _ in range(3):
        if await errand(settings, scene.crash, AHEAD) == CRASHED:
            return


@dataclass(frozen=True, slots=True)
class Stage:
    """What happens at each point of a stage, and how many points there are in one world."""

    scenario: Callable[[Scene], Awaitable[None]]
    together: int  # points of one world
    at_once: int = 1  # a worker takes any job, so there is one at a time


SCENARIOS: dict[str, Stage] = {
    "upload-url": Stage(lambda scene: in_api(scene, plain, illustrated), 20, AT_ONCE),
    "complete": Stage(lambda scene: in_api(scene, plain, refused_first), 20, AT_ONCE),
    "verify": Stage(lambda scene: in_api(scene, large, worker=True), 20, AT_ONCE),
    # Few points share a world: they run in turn, and each waits until the dead worker's jobs are taken again.
    "hash": Stage(lambda scene: in_worker(scene, large, refused_later), 3),
    "delete": Stage(lambda scene: in_api(scene, deleted), 20, AT_ONCE),
    "delete-all": Stage(lambda scene: in_worker(scene, forgotten), 3),
    "erase": Stage(lambda scene: in_worker(scene, deleted), 3),
    "reconcile": Stage(in_reconciler, 20),
}


async def crash_in_world(
    points: Sequence[str], stage: Stage, postgres: EmbeddedPostgres, folder: Path
) -> list[Finding]:
    """A new world, in which these points are hit; what is wrong when it has come to rest."""
    folder.mkdir()  # noqa: ASYNC240
    journal = Journal(folder / "journal.jsonl")
    database = f"crash_{points[0]}"
    dsn = await asyncio.to_thread(create_database, postgres, database, "template")
    gate = asyncio.Semaphore(stage.at_once)
    missed: list[Finding] = []
    async with AsyncExitStack() as stack:
        stack.callback(journal.close)
        haven = await stack.enter_async_context(
            running(folder / "data", dsn, clock=None, LAPEL_INLINE_HASH_BYTES=str(INLINE_BYTES))
        )
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=20, trust_env=False))
        tenant = await make_tenant(haven.ports)

        async def crash_at(point: str) -> None:
            crash, marker = armed(folder, point)
            async with gate:
                await stage.scenario(Scene(haven, tenant, journal, crash, marker, http))
            if marker.exists():
                missed.append(Finding("point-not-reached", point))

        async with asyncio.TaskGroup() as group:
            for point in points:
                group.create_task(crash_at(point))
        journal.close()
        findings = await conclude(haven, tenant, journal)
    await asyncio.to_thread(drop_database, postgres, database)
    return [*missed, *findings]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", STAGES)
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
