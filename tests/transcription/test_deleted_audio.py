"""A deleted recording's audio leaves the worker's disk, and until then the ledger stays open."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from lapel.foundation.ports import Ports
from lapel.slices.erasure.service import LocalCopies
from lapel.slices.transcription.speech.failures import Gone
from lapel.slices.transcription.work.scratch_place import ScratchPlace
from tests.recordings.support import Device
from tests.support.patience import patience
from tests.transcription.office import SLOW
from tests.transcription.scratch_bench import Bench


class Stuck:
    """A store whose answers wait until they are let go."""

    def __init__(self) -> None:
        self.asked, self.let_go = asyncio.Event(), asyncio.Event()

    async def get_range(self, key: str, start: int, length: int) -> bytes:  # noqa: ARG002
        """So many bytes, later."""
        self.asked.set()
        await self.let_go.wait()
        return bytes(length)


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
