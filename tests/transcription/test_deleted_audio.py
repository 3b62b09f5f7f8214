"""A deleted recording's audio leaves the worker's disk, and until then the ledger stays open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from lapel.foundation.core.clock import ManualClock
from lapel.foundation.ports import Ports
from lapel.foundation.storage.client import ObjectStore
from lapel.slices.erasure.payloads import EraseRecording
from lapel.slices.erasure.service import Erasures, LocalCopies
from lapel.slices.recordings.service import Audio, audio_of
from lapel.slices.transcription.speech.failures import Gone
from lapel.slices.transcription.work.scratch import Scratch, ScratchPlace
from tests.recordings.support import Device
from tests.support.patience import patience
from tests.transcription.office import SLOW

SOUND = b"OggS" + bytes(200)
NEVER = 3600.0
URLS_HAVE_ENDED = timedelta(minutes=76)
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


class Stuck:
    """A store whose answers wait until they are let go."""

    def __init__(self) -> None:
        self.asked, self.let_go = asyncio.Event(), asyncio.Event()

    async def get_range(self, key: str, start: int, length: int) -> bytes:  # noqa: ARG002
        """So many bytes, later."""
        self.asked.set()
        await self.let_go.wait()
        return bytes(length)


@dataclass(frozen=True)
class Bench:
    """Recordings, and workers' folders for their audio."""

    device: Device
    ports: Ports
    folder: Path

    @property
    def world_id(self) -> int:
        """The tenant's."""
        return self.device.tenant.test_world

    @asynccontextmanager
    async def scratch(
        self, *, listens: bool = True, look_seconds: float = NEVER, store: object | None = None
    ) -> AsyncGenerator[Scratch]:
        """A worker's, for a block."""
        copies = LocalCopies(self.ports.database, listen_dsn=None if listens else NOWHERE)
        objects = cast("ObjectStore", store or self.ports.store)
        made = Scratch(
            self.folder / "scratch", objects, self.ports.database, copies, look_seconds=look_seconds
        )
        await made.start()
        try:
            yield made
        finally:
            await made.close()

    async def upload(self) -> Audio:
        """A recording whose transcription is asked for, so that work on it waits."""
        recording_id, media_id = await self.device.upload(SOUND)
        await self.device.post("/v1/transcriptions", 201, {"recording_id": recording_id})
        async with self.ports.database.acquire() as connection:
            audio = await audio_of(connection, self.world_id, recording_id, media_id)
        assert audio is not None
        return audio

    async def kept(self, scratch: Scratch, audio: Audio) -> ScratchPlace:
        """The audio, after a step whose next one waits."""
        async with scratch.working_on(self.world_id, audio.recording_id) as stay:
            async with scratch.audio(audio) as place:
                pass
            stay.next_waits = True
        assert place.file.read_bytes() == SOUND
        return place

    async def delete(self, audio: Audio) -> None:
        """Through the API."""
        await self.device.call("DELETE", f"/v1/recordings/{audio.recording_id}", 204)

    async def state(self, audio: Audio) -> str:
        """The ledger's, when all upload URLs have ended long ago and it was looked at twice."""
        page = await self.device.call("GET", "/v1/erasures", 200)
        entry = next(each["id"] for each in page["data"] if each["resource_id"] == audio.recording_id)
        erasures = Erasures(replace(self.ports, clock=ManualClock(self.ports.clock.now() + URLS_HAVE_ENDED)))
        for _ in range(2):
            await erasures.erase_recording(EraseRecording(self.world_id, entry))
        page = await self.device.call("GET", "/v1/erasures", 200)
        return next(each["state"] for each in page["data"] if each["id"] == entry)

    async def execute(self, statement: str, *given: object) -> None:
        """Change rows behind everybody's back."""
        async with self.ports.database.acquire() as connection:
            await connection.execute(statement, *given)


@pytest.fixture
def bench(device: Device, ports: Ports, tmp_path: Path) -> Bench:
    return Bench(device, ports, tmp_path)


async def until_gone(place: ScratchPlace) -> None:
    async with patience(SLOW):
        while place.folder.exists():  # noqa: ASYNC110 - a folder
            await asyncio.sleep(0.01)


async def test_a_worker_is_told_of_the_deletion(bench: Bench) -> None:
    async with bench.scratch() as scratch:
        audio, other = await bench.upload(), await bench.upload()
        place, others = await bench.kept(scratch, audio), await bench.kept(scratch, other)
        await bench.delete(audio)
        await until_gone(place)
        assert others.file.exists()
    assert await bench.state(audio) == "closed"


async def test_a_worker_that_hears_nothing_looks_by_itself(bench: Bench) -> None:
    async with bench.scratch(listens=False, look_seconds=0.05) as scratch:
        audio = await bench.upload()
        place = await bench.kept(scratch, audio)
        await bench.delete(audio)
        await until_gone(place)


async def test_what_another_worker_goes_on_with_goes_here(bench: Bench) -> None:
    async with bench.scratch(look_seconds=0.05) as scratch:
        place = await bench.kept(scratch, audio := await bench.upload())
        await bench.execute(
            "UPDATE speech_work SET lease = 'theirs', available_at = now() + interval '1 minute'"
            " WHERE recording_id = $1",
            audio.recording_id,
        )
        await until_gone(place)
    await bench.execute("DELETE FROM speech_work WHERE recording_id = $1", audio.recording_id)


@pytest.mark.parametrize("listens", [True, False])
async def test_a_deletion_ends_a_fetch_that_is_under_way(bench: Bench, listens: bool) -> None:
    store = Stuck()
    async with bench.scratch(store=store, listens=listens) as scratch:
        audio = replace(await bench.upload(), size=9 * 1024 * 1024)

        async def fetch() -> None:
            async with scratch.audio(audio):
                raise AssertionError("it was fetched")

        fetching = asyncio.create_task(fetch())
        await store.asked.wait()
        await bench.delete(audio)
        assert await bench.state(audio) == "erased"
        store.let_go.set()
        with pytest.raises(Gone):
            await fetching
        assert list(bench.folder.rglob("audio*")) == []
    assert await bench.state(audio) == "closed"


async def test_a_deleted_audio_is_not_fetched(bench: Bench) -> None:
    async with bench.scratch() as scratch:
        audio = await bench.upload()
        await bench.delete(audio)
        with pytest.raises(Gone):
            async with scratch.audio(audio):
                pass
    assert await bench.state(audio) == "closed"


async def test_the_ledger_waits_for_a_worker_that_has_the_audio(bench: Bench) -> None:
    async with bench.scratch() as scratch:
        audio = await bench.upload()
        async with scratch.audio(audio) as place:
            await bench.delete(audio)
            assert await bench.state(audio) == "erased"
            assert place.file.exists()
        assert not place.folder.exists()
        assert await bench.state(audio) == "closed"


async def test_the_ledger_waits_for_a_worker_that_is_frozen_but_not_for_ever(bench: Bench) -> None:
    """Frozen with its machine, it renews nothing and hears nothing; it may go on within a day."""
    audio = await bench.upload()
    await LocalCopies(bench.ports.database).register("1-deadbeef", bench.world_id, audio.recording_id)
    await bench.delete(audio)
    for silent, state in (("23 hours", "erased"), ("25 hours", "closed")):
        await bench.execute(
            "UPDATE local_copies SET renewed_at = now() - $2::text::interval WHERE recording_id = $1",
            audio.recording_id,
            silent,
        )
        assert await bench.state(audio) == state


async def test_a_living_worker_renews_what_it_holds(bench: Bench) -> None:
    async with bench.scratch(look_seconds=0.05) as scratch:
        audio = await bench.upload()
        async with scratch.audio(audio):
            await bench.execute(
                "UPDATE local_copies SET renewed_at = now() - interval '25 hours' WHERE recording_id = $1",
                audio.recording_id,
            )
            async with patience(SLOW), bench.ports.database.acquire() as connection:
                while not await connection.fetchval(  # noqa: ASYNC110 - another task writes it
                    "SELECT renewed_at > now() - interval '1 hour' FROM local_copies WHERE recording_id = $1",
                    audio.recording_id,
                ):
                    await asyncio.sleep(0.02)
            await bench.delete(audio)
            assert await bench.state(audio) == "erased"
