"""A process may end anywhere: nothing is half done, nothing is told twice, and nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

import httpx
import pytest

import lapel
from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.hosting.sockets import listen
from lapel.slices.firmware.slice import SLICE
from tests.faults.processes import CRASHED, armed, errand, instructions, process, run_schedules
from tests.faults.rest import empty
from tests.firmware.support import Fleet, Json
from tests.support.client import api_client
from tests.support.postgres import create_database, drop_database
from tests.support.running import Running, running, settings_for
from tests.support.tenants import make_tenant

CONTENT = os.urandom(300_000)
DAYS = timedelta(days=4)
_CALL = re.compile(r"crash_point\(\s*\"([^\"]+)\"\s*\)")


def points(stage: str) -> list[str]:
    """The crash points of one stage."""
    return [point for point in SLICE.crash_points if point.startswith(f"{stage}:")]


def test_every_point_is_listed_once_and_every_listed_one_exists() -> None:
    folder = Path(lapel.__file__).parent / "slices" / "firmware"
    found = [name for file in folder.rglob("*.py") for name in _CALL.findall(file.read_text())]
    assert sorted(SLICE.crash_points) == sorted(found)


@dataclass(frozen=True)
class Scene:
    """A server that stays, with a database of its own, beside which another process ends at some points."""

    live: Running
    client: httpx.AsyncClient
    folder: Path

    async def fleet(self) -> Fleet:
        """A new tenant's."""
        return Fleet(self.client, await make_tenant(self.live.ports), self.live.ports)

    async def crashed(self, point: str, marker: Path) -> None:
        """Wait until a process has ended there."""
        for _ in range(600):
            if not marker.exists():  # noqa: ASYNC240 - a marker in a test's folder
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{point} was not reached")


Opener: TypeAlias = Callable[[str], AbstractAsyncContextManager[Scene]]


@pytest.fixture
def opened(postgres: EmbeddedPostgres, quick_folder: Path) -> Opener:
    """A scene by its name, with a database of its own: several may play at once."""
    return lambda name: open_scene(postgres, quick_folder / name.replace(":", "-"))


@asynccontextmanager
async def open_scene(postgres: EmbeddedPostgres, folder: Path) -> AsyncGenerator[Scene]:
    """A scene in a new folder; its database has the folder's name."""
    await asyncio.to_thread(folder.mkdir)
    url = await asyncio.to_thread(create_database, postgres, folder.name, "template")
    async with running(folder / "data", url) as live, api_client(live.url) as client:
        yield Scene(live, client, folder)
    await asyncio.to_thread(drop_database, postgres, folder.name)


async def each(stage: str, play: Callable[[str], Awaitable[None]]) -> None:
    """Play every point of the stage, all at once."""
    await asyncio.gather(*(play(point) for point in points(stage)))


@pytest.mark.timeout(240)
async def test_an_upload_that_dies_is_there_whole_or_not_at_all(opened: Opener) -> None:
    async with opened("uploads") as scene, AsyncExitStack() as stack:
        listener = stack.enter_context(listen("127.0.0.1", 0)[0])
        port: int = listener.getsockname()[1]
        kept = scene.live.settings
        settings = settings_for(
            kept.data_dir, kept.database_url or "", port, LAPEL_S3_ENDPOINT=kept.s3_endpoint or ""
        )
        crash = instructions(scene.folder, points("firmware"))
        await stack.enter_async_context(process("api", settings, crash=crash, listener=listener))
        client = await stack.enter_async_context(api_client(f"http://127.0.0.1:{port}"))
        for point in points("firmware"):
            await upload_dies(scene, client, point)


async def upload_dies(scene: Scene, client: httpx.AsyncClient, point: str) -> None:
    fleet = await scene.fleet()
    _, marker = armed(scene.folder, point)
    dying = replace(fleet, client=client)
    with pytest.raises(httpx.TransportError):
        await dying.upload(CONTENT, b"ufw" * 1000, version="1.0")
    await scene.crashed(point, marker)
    expect = 409 if point == "firmware:committed" else 201
    answer = await fleet.upload(CONTENT, b"ufw" * 1000, expect=expect, version="1.0")
    release_id = answer["id"] if expect == 201 else answer["error"]["resource_id"]
    (release,) = (await fleet.call("GET", "/v1/firmware-releases", 200))["data"]
    assert release["id"] == release_id
    await run_schedules(scene.live.settings, timedelta(hours=25))
    prefix = f"firmware/{fleet.tenant.project_id}/{release_id}/firmware"
    assert await fleet.objects() == [f"{prefix}.bin", f"{prefix}.ufw"]
    link = await fleet.call("GET", f"/v1/firmware-releases/{release_id}/download-url", 200)
    assert (await fleet.client.get(link["download_url"])).content == CONTENT


@dataclass(frozen=True)
class Played:
    """A rollout whose worker has died, and its devices."""

    fleet: Fleet
    devices: list[str]
    rollout: Json

    async def state(self) -> tuple[Json, list[list[Json]]]:
        """The rollout, and what each device was offered."""
        return await self.fleet.rollout(self.rollout), [
            await self.fleet.history(device) for device in self.devices
        ]


@pytest.mark.deep
@pytest.mark.timeout(240)
async def test_a_rollout_whose_worker_dies_goes_on(opened: Opener) -> None:
    deadly = [*points("rollout"), *points("withdraw")]
    async with opened("rollouts") as scene:
        settings = scene.live.settings
        async with process("worker", settings, crash=instructions(scene.folder, deadly)):
            played = [await worker_dies(scene, point) for point in deadly]
        # Whatever is repeated now changes nothing.
        before = [await each.state() for each in played]
        await run_schedules(settings, timedelta(minutes=10))
        async with process("worker", settings), scene.live.ports.database.acquire() as connection:
            await empty(connection)
        assert [await each.state() for each in played] == before
        for one, (rollout, histories) in zip(played, before, strict=True):
            assert all(len(history) == 1 for history in histories)
            told = [data["device_id"] for _, data in await one.fleet.events()]
            assert told == (one.devices[:5] if rollout["status"] == "halted" else [])


async def worker_dies(scene: Scene, point: str) -> Played:
    fleet = await scene.fleet()
    devices = await fleet.devices(6)
    release = await fleet.released(version="2.0")
    _, marker = armed(scene.folder, point)
    made = await fleet.roll_out(release, max_failure_rate=0)
    await fleet.until(made, lambda seen: seen["counts"]["pending"] == 6)
    if point == "rollout:halted" or point.startswith("withdraw"):
        for device in devices[:5]:
            manifest = await fleet.heartbeat(device)
            assert manifest is not None
            report = {"assignment_id": manifest["assignment_id"], "status": "failed"}
            await fleet.heartbeat(device, ota_result=report)
        await fleet.until(made, lambda seen: seen["counts"]["cancelled"] == 1)
    await scene.crashed(point, marker)
    return Played(fleet, devices, made)


async def test_deadlines_are_told_once_whatever_ends_the_sweep(opened: Opener) -> None:
    await each("deadlines", lambda point: sweep_of_deadlines_dies(opened, point))


async def sweep_of_deadlines_dies(opened: Opener, point: str) -> None:
    async with opened(point) as scene:
        fleet = await scene.fleet()
        crash, _ = armed(scene.folder, point)
        devices = await fleet.devices(3)
        release = await fleet.released()
        for device in devices:
            await fleet.assign(device, release["id"])
        assert await errand(scene.live.settings, crash, DAYS) == CRASHED
        for _ in range(2):
            await run_schedules(scene.live.settings, DAYS)
        assert [(await fleet.history(device))[0]["status"] for device in devices] == ["failed"] * 3
        events = await fleet.events()
        assert sorted((kind, data["device_id"]) for kind, data in events) == [
            ("ota.failed", device) for device in sorted(devices)
        ]


async def test_files_without_a_release_go_and_others_stay(opened: Opener) -> None:
    await each("firmware-sweep", lambda point: sweep_of_files_dies(opened, point))


async def sweep_of_files_dies(opened: Opener, point: str) -> None:
    async with opened(point) as scene:
        fleet, ports = await scene.fleet(), scene.live.ports
        crash, _ = armed(scene.folder, point)
        release = await fleet.upload(b"kept", b"kept too")
        project = fleet.tenant.project_id
        kept = [*await fleet.objects(), f"firmware/{project}/notes/readme/x", f"firmware/{project}/odd"]
        orphans = [f"firmware/{project}/{ports.ids.new('fw')}/firmware.{kind}" for kind in ("bin", "ufw")]
        for key in (*orphans, *kept[2:]):
            await ports.store.put(key, b"nobody's")
        await run_schedules(scene.live.settings, timedelta(hours=23))
        assert sorted(await fleet.objects()) == sorted([*kept, *orphans])  # it may still be on its way
        assert await errand(scene.live.settings, crash, timedelta(hours=25)) == CRASHED
        await run_schedules(scene.live.settings, timedelta(hours=25))
        assert sorted(await fleet.objects()) == sorted(kept)
        link = await fleet.call("GET", f"/v1/firmware-releases/{release['id']}/download-url", 200)
        assert (await fleet.client.get(link["download_url"])).content == b"kept"
