"""Projects share the places of a worker, and what takes long is done in turns."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from lapel.foundation.ports import Ports
from lapel.slices.erasure.service import LocalCopies
from lapel.slices.transcription.audio.decoder import Decoder
from lapel.slices.transcription.models.process.engine_client import Engine
from lapel.slices.transcription.payloads import Lane
from lapel.slices.transcription.rows import ClaimRow
from lapel.slices.transcription.work import lifecycle, work_queries
from lapel.slices.transcription.work.runner import Runner
from lapel.slices.transcription.work.scratch import Scratch
from lapel.slices.transcription.work.steps import Ending, Steps
from lapel.slices.transcription.work.tools import WorkerStages
from tests.recordings.support import Device
from tests.support.patience import Deadline, patience
from tests.support.tenants import make_tenant
from tests.transcription.audio.signals import silent_flac
from tests.transcription.office import BEGINNING, SLOW, Office, office

pytestmark = pytest.mark.deep

SOUND = b"OggS" + bytes(200)
UNDER_WAY = "SELECT count(*) FROM speech_work WHERE turns > 0"


DRAWS = int(os.environ.get("LAPEL_PLACES_DRAWS", "30"))


class Hanging(Steps):
    """Its steps last until they are let go. `admitted`: for each, how many steps its world had under way and
    how many places were free when it was begun."""

    def start(self, places: int) -> None:
        """From now on, with so many places."""
        self.places = places
        self.under_way: dict[str, tuple[int, asyncio.Event]] = {}
        self.admitted: list[tuple[int, int]] = []
        self.done: list[str] = []

    @property
    def held(self) -> Counter[int]:
        """Steps under way, by world."""
        return Counter(world_id for world_id, _ in self.under_way.values())

    async def do(self, claim: ClaimRow, tell: Callable[[float], None]) -> Ending:  # noqa: ARG002
        self.admitted.append((self.held[claim.world_id], self.places - len(self.under_way)))
        let_go = asyncio.Event()
        self.under_way[claim.id] = claim.world_id, let_go
        await let_go.wait()
        return Ending(self._write, None)

    def let_go(self, step: str) -> None:
        """This one ends."""
        self.done.append(step)
        self.under_way.pop(step)[1].set()

    async def _write(self, _: object) -> None:
        pass


class Busy(Runner):
    """One job for each step that was put in its lane, as the queue has them."""

    def begin(self, ports: Ports, steps: WorkerStages, places: int) -> None:
        """Its steps hang."""
        self._steps = self.hanging = Hanging(ports, steps)
        self.hanging.start(places)
        self.jobs: list[asyncio.Task[None]] = []

    async def put(self, ports: Ports, lane: Lane, audio: tuple[int, str, str], steps: int) -> None:
        """So many more steps wait in a lane; returns when each is under way or has to wait."""
        world_id, recording_id, media_id = audio
        for _ in range(steps):
            async with ports.database.transaction() as connection:
                name, of = secrets.token_hex(8), (recording_id, media_id)
                now = ports.clock.now()
                await work_queries.insert(
                    connection, world_id, name, of, now, transcription_id=None, lane=lane, stage="transcribe"
                )
            self.jobs.append(asyncio.create_task(self.work(lane)))
        await self.settled()

    async def settled(self) -> None:
        """Wait until each job has a step under way, or is spent."""
        async with patience(SLOW):
            while sum(not job.done() for job in self.jobs) > len(self.hanging.under_way):  # noqa: ASYNC110 - tasks
                await asyncio.sleep(0.002)

    async def end_all(self) -> None:
        """Let go of everything, until nothing waits."""
        while self.hanging.under_way:
            self.hanging.let_go(next(iter(self.hanging.under_way)))
            await self.settled()


@pytest.fixture
async def busy(ports: Ports, tmp_path: Path, places: int) -> AsyncGenerator[Busy]:
    async with ports.database.acquire() as connection:  # other tests leave work, which would come before ours
        await connection.execute("DELETE FROM speech_work")
    scratch = Scratch(tmp_path / "scratch", ports.store, ports.database, LocalCopies(ports.database))
    steps = WorkerStages(decoder=Decoder(), engine=Engine(ports.settings), scratch=scratch)
    made = Busy(ports, steps)
    made.begin(ports, steps, places)
    yield made
    await made.stop()


async def audio_of_tenants(ports: Ports, device: Device, count: int) -> list[tuple[int, str, str]]:
    """World, recording and media of an audio of each of so many tenants."""
    found: list[tuple[int, str, str]] = []
    for _ in range(count):
        tenant = await make_tenant(ports)
        found.append((tenant.test_world, *await Device(device.client, tenant, tenant.headers).upload(SOUND)))
    return found


@pytest.mark.parametrize(
    ("lane", "places", "shares"), [("decode", 3, [2, 1]), ("io", 16, [8, 4, 2, 1, 1])], ids=["decode", "io"]
)
async def test_hanging_steps_leave_each_newcomer_a_place_and_none_is_forgotten(
    device: Device, ports: Ports, busy: Busy, lane: Lane, places: int, shares: list[int]
) -> None:
    audios = await audio_of_tenants(ports, device, len(shares))
    for audio, share in zip(audios, shares, strict=True):  # each finds the steps of those before it hanging
        await busy.put(ports, lane, audio, places + 1)
        assert busy.hanging.held[audio[0]] == share
    assert len(busy.hanging.under_way) == places
    await busy.end_all()
    assert len(set(busy.hanging.done)) == len(shares) * (places + 1)


@pytest.mark.parametrize(("lane", "places"), [("decode", 3), ("io", 16)])
async def test_a_world_has_another_step_only_while_more_places_are_free_than_it_has(
    device: Device, ports: Ports, busy: Busy, lane: Lane, places: int
) -> None:
    audios = await audio_of_tenants(ports, device, 3)
    seed = secrets.token_hex(4)
    draw = random.Random(seed)
    for _ in range(DRAWS):
        under_way = sorted(busy.hanging.under_way)
        if under_way and draw.random() < 0.4:
            for step in draw.sample(under_way, draw.randint(1, len(under_way))):
                busy.hanging.let_go(step)
            await busy.settled()
        else:
            await busy.put(ports, lane, draw.choice(audios), draw.randint(1, places // 2))
        held = busy.hanging.held
        free = places - held.total()
        async with ports.database.acquire() as connection:
            waiting = await connection.fetch("SELECT DISTINCT world_id FROM speech_work WHERE lease IS NULL")
        # A world whose step waits is one that may not have another place.
        assert all(held[row["world_id"]] >= free for row in waiting), seed
    assert all(has < free for has, free in busy.hanging.admitted), seed
    await busy.end_all()


async def test_long_files_of_many_projects_keep_nobody_waiting(tmp_path: Path, fresh_database: str) -> None:
    async with office(tmp_path, fresh_database) as opened:
        ports = opened.live.ports
        # Over an hour, and minutes of work.
        hostile = silent_flac(200_000, rate=192_000, channels=8, block=4_096, padding=2**20)
        long: list[tuple[Device, str]] = []
        for _ in range(4):
            tenant = await make_tenant(ports)
            device = Device(opened.client, tenant, tenant.headers)
            long.append((device, (await device.upload(hostile))[0]))
        async with patience(SLOW):
            while await opened.value(UNDER_WAY) < 4:  # noqa: ASYNC110 - a database
                await asyncio.sleep(0.1)
        recording_id, _ = await opened.upload(BEGINNING)
        await known(opened, recording_id)
        for device, recording_id in long:  # none has come to its end, or was given up
            await device.call("GET", f"/v1/recordings/{recording_id}/waveform?points=100", 409)
            assert (await device.read(recording_id))["duration_ms"] is None
            await device.call("DELETE", f"/v1/recordings/{recording_id}", 204)


async def test_a_long_file_is_decoded_in_turns_to_its_end(tmp_path: Path, fresh_database: str) -> None:
    async with office(tmp_path, fresh_database, worker=False) as opened:
        blocks = 1_000
        file = silent_flac(blocks, rate=96_000, channels=8, block=16_384)
        recording_id, media_id = await opened.upload(file)
        ports = opened.live.ports
        # Half a second of work, in turns of a fiftieth of it.
        decoder = Decoder(turn_seconds=0.01)
        scratch = Scratch(tmp_path / "scratch", ports.store, ports.database, LocalCopies(ports.database))
        runner = Runner(ports, WorkerStages(decoder=decoder, engine=Engine(ports.settings), scratch=scratch))
        async with ports.database.transaction() as connection:
            world_id = opened.tenant.test_world
            await lifecycle.begin_probe(connection, world_id, recording_id, media_id, ports.clock.now())
        steps = 0
        while await runner.run("decode") is not None:
            steps += 1
        await runner.stop()
        assert (await opened.read(recording_id))["duration_ms"] == blocks * 16_384 * 1_000 // 96_000
        assert steps > 1


async def test_a_step_has_only_so_many_turns(tmp_path: Path, fresh_database: str) -> None:
    async with office(tmp_path, fresh_database, worker=False) as opened:
        recording_id, media_id = await opened.upload(BEGINNING)
        ports = opened.live.ports
        scratch = Scratch(tmp_path / "scratch", ports.store, ports.database, LocalCopies(ports.database))
        runner = Runner(
            ports, WorkerStages(decoder=Decoder(), engine=Engine(ports.settings), scratch=scratch)
        )
        async with ports.database.transaction() as connection:
            await lifecycle.begin_probe(
                connection, opened.tenant.test_world, recording_id, media_id, ports.clock.now()
            )
            await connection.execute("UPDATE speech_work SET turns = 10001")
        await runner.run("decode")
        await runner.stop()
        told = await opened.call("GET", f"/v1/recordings/{recording_id}/waveform?points=100", 409)
        assert "processing_error" in told["error"]["message"]
        assert await opened.value("SELECT count(*) FROM speech_work") == 0


async def known(opened: Office, recording_id: str) -> None:
    """Wait until it is known what an audio is."""
    deadline = Deadline(SLOW)
    while (await opened.read(recording_id))["duration_ms"] is None:
        assert not deadline.has_passed()
        await asyncio.sleep(0.05)
