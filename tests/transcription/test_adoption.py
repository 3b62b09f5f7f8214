"""The next worker adopts audio that a killed one had decoded, if it is complete, fitting and needed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import asyncpg
import pytest

from lapel.foundation.ports import Ports
from lapel.foundation.storage.client import ObjectStore
from lapel.foundation.workers.private_folder import private_file
from lapel.slices.erasure.service import LocalCopies
from lapel.slices.recordings.service import Audio
from lapel.slices.transcription.audio.audio_facts import AudioFacts
from lapel.slices.transcription.work import scratch_place
from lapel.slices.transcription.work.scratch import Scratch
from tests.recordings.support import Device
from tests.support.patience import patience
from tests.transcription.office import SLOW
from tests.transcription.scratch_bench import NOWHERE, Bench

SAMPLES = bytes(range(200))
FACTS = AudioFacts(
    duration_ms=1000,
    channels=1,
    sample_rate=16_000,
    codec="opus",
    container="ogg",
    mime_type="audio/ogg",
    peaks=b"\x01\x02",
    pieces=[(0, 1000)],
)


class NoStore:
    """A store that nothing may be fetched from."""

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        raise AssertionError(f"{key} was fetched: {start}, {length}")


@dataclass(frozen=True)
class Killed:
    """What a killed worker left: its folder with one place."""

    audio: Audio
    folder: Path

    @property
    def place(self) -> Path:
        """The place's folder."""
        return next(each for each in self.folder.iterdir() if each.is_dir())


class Graveyard(Bench):
    """Workers that are killed, and the next one."""

    async def killed(self, number: int = 1) -> Killed:
        """A worker has fetched and decoded an audio, and was killed before its next step."""
        audio, folder = await self.upload(), self.folder / "scratch" / f"{number}-deadbeef"
        async with replace(self, folder=self.folder / "elsewhere").scratch() as scratch:
            place = await self.kept(scratch, audio)
            with private_file(place.pcm) as file:
                file.write(SAMPLES)
            place.set_decoded(FACTS)
            left = self.folder / f"left-{number}"
            shutil.copytree(place.folder.parent, left)
        os.utime(next(left.glob("*/place.json")), (number, number))
        await LocalCopies(self.ports.database).register(folder.name, self.world_id, audio.recording_id)
        folder.parent.mkdir(exist_ok=True)
        left.rename(folder)  # whole at once: a worker that runs may take it at any moment
        return Killed(audio, folder)

    def next_one(self, *, look_seconds: float = 3600) -> Scratch:
        """The next worker's scratch, which may fetch nothing; not started."""
        copies = LocalCopies(self.ports.database, listen_dsn=NOWHERE)
        store = cast("ObjectStore", NoStore())
        return Scratch(self.folder / "scratch", store, self.ports.database, copies, look_seconds=look_seconds)

    async def holders(self) -> list[str]:
        """Who has copies, as the ledger knows."""
        async with self.ports.database.acquire() as connection:
            rows = await connection.fetch(
                "SELECT holder FROM local_copies WHERE world_id = $1", self.world_id
            )
        return [row["holder"] for row in rows]

    def places(self) -> list[Path]:
        """The places of all processes."""
        return list((self.folder / "scratch").glob("*/*/"))


@pytest.fixture
def bench(device: Device, ports: Ports, tmp_path: Path) -> Graveyard:
    return Graveyard(device, ports, tmp_path)


async def test_the_next_worker_finds_decoded_audio_again(bench: Graveyard) -> None:
    left = await bench.killed()
    scratch = bench.next_one()
    await scratch.start()
    assert not left.folder.exists()
    assert len(await bench.holders()) == 1
    assert left.folder.name not in await bench.holders()
    async with scratch.audio(left.audio) as place:
        assert (place.pcm.read_bytes(), place.facts) == (SAMPLES, FACTS)
        modes = {path.stat().st_mode & 0o077 for path in bench.folder.joinpath("scratch").rglob("*")}
        assert modes == {0}
    assert bench.places() == []
    assert await bench.holders() == []
    await scratch.close()
    assert not (bench.folder / "scratch").exists()


def half_written(place: Path) -> None:
    (place / "place.json").rename(place / "place.part")


def being_decoded(place: Path) -> None:
    (place / "audio.part").touch(0o600)


def shorter(name: str) -> Callable[[Path], None]:
    return lambda place: os.truncate(place / name, 7)


def changed(**fields: object) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        record = json.loads((place / "place.json").read_text())
        (place / "place.json").write_text(json.dumps(record | fields))

    return change


def garbage(content: bytes) -> Callable[[Path], None]:
    def overwrite(place: Path) -> None:
        (place / "place.json").write_bytes(content)

    return overwrite


def linked(name: str) -> Callable[[Path], None]:
    def link(place: Path) -> None:
        target = place.parent.parent.parent / "outside"
        (place / name).rename(target)
        (place / name).symlink_to(target)

    return link


def linked_place(place: Path) -> None:
    target = place.parent.parent.parent / "outside"
    place.rename(target)
    place.symlink_to(target)


def piped(place: Path) -> None:
    (place / "place.json").unlink()
    os.mkfifo(place / "place.json", 0o600)


def readable(place: Path) -> None:
    place.chmod(0o755)


async def test_what_is_incomplete_or_does_not_fit_is_removed(bench: Graveyard) -> None:
    faults = [
        half_written,
        being_decoded,
        shorter("audio"),
        shorter("audio.pcm"),
        shorter("place.json"),
        changed(decoder="an older one"),
        changed(boot="before the power cut"),
        changed(world_id=2**70),
        changed(recording_id="rec_\x00"),
        changed(more=1),
        garbage(b""),
        garbage(b"[" * 100_000),
        garbage(b"\xff\xfe"),
        linked("audio.pcm"),
        linked("place.json"),
        linked_place,
        piped,
        readable,
    ]
    left, pattern = await bench.killed(), bench.folder / "pattern"
    left.folder.rename(pattern)
    for number, spoil in enumerate(faults):
        shutil.copytree(pattern, left.folder)
        spoil(left.place)
        outside = {path: path.exists() for path in bench.folder.glob("outside*")}
        assert await adopted(bench) == 0, number
        assert all(path.exists() for path in outside), number
        for path in outside:
            path.rename(bench.folder / f"was-{number}")
    assert await bench.holders() == []
    shutil.copytree(pattern, left.folder)
    assert await adopted(bench) == 1  # without a fault


async def adopted(bench: Graveyard) -> int:
    """How many places the next worker adopts."""
    scratch = bench.next_one()
    await scratch.start()
    try:
        return len(bench.places())
    finally:
        await scratch.close()


async def test_audio_of_a_deleted_recording_goes_at_once_and_only_then_the_entry_closes(
    bench: Graveyard,
) -> None:
    left = await bench.killed()
    await bench.delete(left.audio)
    assert await bench.state(left.audio) == "erased"
    scratch = bench.next_one()
    await scratch.start()
    assert bench.places() == []
    assert await bench.holders() == []
    assert await bench.state(left.audio) == "closed"
    await scratch.close()


class DeletesMeanwhile(LocalCopies):
    """The recording is deleted while its audio is being adopted."""

    bench: Graveyard
    left: Killed

    async def register(self, holder: str, world_id: int, recording_id: str) -> bool:
        await self.bench.delete(self.left.audio)
        assert await self.bench.state(self.left.audio) == "erased"  # the killed one's row is there still
        return await super().register(holder, world_id, recording_id)


async def test_a_deletion_during_the_adoption_removes_it(bench: Graveyard) -> None:
    copies = DeletesMeanwhile(bench.ports.database, listen_dsn=NOWHERE)
    copies.bench, copies.left = bench, await bench.killed()
    store = cast("ObjectStore", NoStore())
    scratch = Scratch(bench.folder / "scratch", store, bench.ports.database, copies)
    await scratch.start()
    assert bench.places() == []
    assert await bench.holders() == []
    assert await bench.state(copies.left.audio) == "closed"
    await scratch.close()


async def test_a_deletion_after_the_adoption_removes_it(bench: Graveyard) -> None:
    left = await bench.killed()
    scratch = bench.next_one(look_seconds=0.05)
    await scratch.start()
    assert len(bench.places()) == 1
    await bench.delete(left.audio)
    async with patience(SLOW):
        while bench.places() or await bench.holders():  # noqa: ASYNC110 - a folder and a database
            await asyncio.sleep(0.01)
    await scratch.close()
    assert await bench.state(left.audio) == "closed"


async def test_a_worker_that_runs_already_adopts_it_too(bench: Graveyard) -> None:
    scratch = bench.next_one(look_seconds=0.02)
    await scratch.start()
    left = await bench.killed()
    async with patience(SLOW):
        while left.folder.exists():  # noqa: ASYNC110 - a folder
            await asyncio.sleep(0.01)
    async with scratch.audio(left.audio) as place:
        assert place.facts == FACTS
    await scratch.close()


async def test_of_two_workers_that_start_at_once_one_gets_it(bench: Graveyard) -> None:
    left = await bench.killed()
    workers = [bench.next_one() for _ in range(2)]
    await asyncio.gather(*(each.start() for each in workers))
    assert len(bench.places()) == len(await bench.holders()) == 1
    assert not left.folder.exists()
    await asyncio.gather(*(each.close() for each in workers))


async def test_the_newest_four_are_adopted_and_the_oldest_of_them_goes_first(bench: Graveyard) -> None:
    left = [await bench.killed(number) for number in range(1, 6)]
    async with bench.scratch() as scratch:
        assert len(bench.places()) == len(await bench.holders()) == 4
        await bench.kept(scratch, newest := await bench.upload())
        assert len(bench.places()) == len(await bench.holders()) == 4
        kept = {key: place.facts for key, place in scratch._places.items()}
    assert kept == {each.audio.object_key: FACTS for each in left[2:]} | {newest.object_key: None}


async def test_without_unfinished_work_it_is_not_adopted(bench: Graveyard) -> None:
    left = await bench.killed()
    await bench.execute("DELETE FROM speech_work WHERE recording_id = $1", left.audio.recording_id)
    scratch = bench.next_one()
    await scratch.start()
    assert bench.places() == []
    assert await bench.holders() == []
    await scratch.close()


LEASED = (
    "UPDATE speech_work SET lease = 'x', available_at = now() + interval '1 minute' WHERE recording_id = $1"
)


async def test_it_stays_while_the_killed_workers_lease_lasts_and_not_for_the_lease_of_another(
    bench: Graveyard,
) -> None:
    left = await bench.killed()
    await bench.execute(LEASED, left.audio.recording_id)
    scratch = bench.next_one(look_seconds=0.02)
    await scratch.start()
    await asyncio.sleep(0.3)  # some looks
    assert len(bench.places()) == 1
    for place in scratch._places.values():
        place.leased_until = 0
    async with patience(SLOW):
        while bench.places():  # noqa: ASYNC110 - a folder
            await asyncio.sleep(0.01)
    await scratch.close()
    await bench.execute("DELETE FROM speech_work WHERE recording_id = $1", left.audio.recording_id)


class Away(LocalCopies):
    """As when the database goes away."""

    async def register(self, holder: str, world_id: int, recording_id: str) -> bool:
        raise asyncpg.PostgresConnectionError(f"{holder} {world_id} {recording_id}")

    async def forget_holders(self, holders: Sequence[str]) -> None:
        raise asyncpg.PostgresConnectionError(f"{holders}")


async def test_without_the_database_nothing_is_adopted_and_the_killed_ones_row_stays(
    bench: Graveyard,
) -> None:
    left = await bench.killed()
    copies = Away(bench.ports.database, listen_dsn=NOWHERE)
    scratch = Scratch(bench.folder / "scratch", cast("ObjectStore", NoStore()), bench.ports.database, copies)
    await scratch.start()
    assert bench.places() == []
    assert await bench.holders() == [left.folder.name]
    await scratch.close()
    assert await adopted(bench) == 0
    assert await bench.holders() == []


def test_where_the_system_tells_no_start_nothing_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch_place, "_BOOT_ID", tmp_path / "none")
    place = scratch_place.ScratchPlace(tmp_path, (1, "rec_1"), "key", 0)
    place.pcm.touch()
    place.set_decoded(FACTS)
    assert place.facts == FACTS
    assert [each.name for each in tmp_path.iterdir()] == ["audio.pcm"]
