"""One project never has all places of a worker, and what takes long is done in turns."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from lapel.erasure.service import LocalCopies
from lapel.foundation.kit import Kit
from lapel.transcription import work
from lapel.transcription.audio.decoder import Decoder
from lapel.transcription.claims import Claim
from lapel.transcription.engine.client import Engine
from lapel.transcription.payloads import Lane
from lapel.transcription.runner import Runner
from lapel.transcription.scratch import Scratch
from lapel.transcription.steps import Steps
from tests.recordings.support import Device
from tests.support.tenants import make_tenant
from tests.transcription.audio.signals import silent_flac
from tests.transcription.office import SLOW, SPEECH, Office, office

SOUND = b"OggS" + bytes(200)
UNDER_WAY = "SELECT count(*) FROM speech_work WHERE turns > 0"


class Busy(Runner):
    """Its steps last until `go` is set; each is done once."""

    def begin(self) -> None:
        """From now on."""
        self.go = asyncio.Event()
        self.now = Counter[int]()
        self.done: list[str] = []

    async def _do(self, claim: Claim) -> bool:
        self.now[claim.world_id] += 1
        await self.go.wait()
        self.done.append(claim.id)
        async with self._kit.database.acquire() as connection:
            await connection.execute("DELETE FROM speech_work WHERE id = $1", claim.id)
        return False

    async def until_busy(self, world_id: int, steps: int) -> None:
        """Wait until it is at so many steps of a world."""
        async with asyncio.timeout(SLOW):
            while self.now[world_id] < steps:  # noqa: ASYNC110 - a counter
                await asyncio.sleep(0.01)


@pytest.fixture
async def busy(kit: Kit, tmp_path: Path) -> AsyncGenerator[Busy]:
    async with kit.database.acquire() as connection:  # other tests leave work, which would come before ours
        await connection.execute("DELETE FROM speech_work")
    scratch = Scratch(tmp_path / "scratch", kit.store, kit.database, LocalCopies(kit.database))
    made = Busy(kit, Steps(decoder=Decoder(), engine=Engine(kit.settings), scratch=scratch))
    made.begin()
    yield made
    await made.stop()


async def steps_of(kit: Kit, device: Device, lane: Lane, count: int) -> None:
    """So many steps that wait in a lane."""
    for _ in range(count):
        recording_id, media_id = await device.upload(SOUND)
        async with kit.database.transaction() as connection:
            await work.begin_probe(
                connection, device.tenant.test_world, recording_id, media_id, kit.clock.now()
            )
            await connection.execute("UPDATE speech_work SET lane = $1 WHERE id = $2", lane, media_id)


@pytest.mark.parametrize(("lane", "places"), [("decode", 3), ("io", 8)])
async def test_one_world_has_never_all_places_and_no_step_is_forgotten(
    device: Device, kit: Kit, busy: Busy, lane: Lane, places: int
) -> None:
    first = device.tenant.test_world
    await steps_of(kit, device, lane, places + 1)
    jobs = [asyncio.create_task(busy.work(lane)) for _ in range(places + 1)]  # one for each step
    await busy.until_busy(first, places - 1)
    done, _ = await asyncio.wait(jobs, timeout=SLOW, return_when=asyncio.FIRST_COMPLETED)
    assert done  # a job that found nothing for it is spent
    other = await make_tenant(kit)
    await steps_of(kit, Device(device.client, other, other.headers), lane, 1)
    jobs.append(asyncio.create_task(busy.work(lane)))
    await busy.until_busy(other.test_world, 1)
    assert busy.now[first] == places - 1
    busy.go.set()
    await asyncio.gather(*jobs)
    assert len(set(busy.done)) == len(busy.done) == places + 2


async def test_long_files_of_many_projects_keep_nobody_waiting(tmp_path: Path, fresh_database: str) -> None:
    async with office(tmp_path, fresh_database) as opened:
        kit = opened.live.kit
        # Over an hour, and minutes of work.
        hostile = silent_flac(200_000, rate=192_000, channels=8, block=4_096, padding=2**20)
        long: list[tuple[Device, str]] = []
        for _ in range(4):
            tenant = await make_tenant(kit)
            device = Device(opened.client, tenant, tenant.headers)
            long.append((device, (await device.upload(hostile))[0]))
        async with asyncio.timeout(SLOW):
            while await opened.value(UNDER_WAY) < 4:  # noqa: ASYNC110 - a database
                await asyncio.sleep(0.1)
        recording_id, _ = await opened.upload(SPEECH)
        await known(opened, recording_id)
        for device, recording_id in long:  # none has come to its end, or was given up
            await device.call("GET", f"/v1/recordings/{recording_id}/waveform?points=100", 409)
            assert (await device.read(recording_id))["duration_ms"] is None
            await device.call("DELETE", f"/v1/recordings/{recording_id}", 204)


async def test_a_long_file_is_decoded_in_turns_to_its_end(tmp_path: Path, fresh_database: str) -> None:
    async with office(tmp_path, fresh_database) as opened:
        blocks = 4_000
        recording_id, media_id = await opened.upload(
            silent_flac(blocks, rate=96_000, channels=8, block=16_384)
        )
        most = 0
        while (duration := (await opened.read(recording_id))["duration_ms"]) is None:
            found = await opened.value("SELECT max(turns) FROM speech_work WHERE id = $1", media_id)
            most = max(most, found or 0)
            await asyncio.sleep(0.05)
        assert duration == blocks * 16_384 * 1_000 // 96_000
        assert most > 0


async def test_a_step_has_only_so_many_turns(tmp_path: Path, fresh_database: str) -> None:
    async with office(tmp_path, fresh_database, worker=False) as opened:
        recording_id, media_id = await opened.upload(SPEECH)
        kit = opened.live.kit
        scratch = Scratch(tmp_path / "scratch", kit.store, kit.database, LocalCopies(kit.database))
        runner = Runner(kit, Steps(decoder=Decoder(), engine=Engine(kit.settings), scratch=scratch))
        async with kit.database.transaction() as connection:
            await work.begin_probe(
                connection, opened.tenant.test_world, recording_id, media_id, kit.clock.now()
            )
            await connection.execute("UPDATE speech_work SET turns = 10001")
        await runner.run("decode")
        await runner.stop()
        told = await opened.call("GET", f"/v1/recordings/{recording_id}/waveform?points=100", 409)
        assert "processing_error" in told["error"]["message"]
        assert await opened.value("SELECT count(*) FROM speech_work") == 0


async def known(opened: Office, recording_id: str) -> None:
    """Wait until it is known what an audio is."""
    deadline = time.monotonic() + SLOW
    while (await opened.read(recording_id))["duration_ms"] is None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
