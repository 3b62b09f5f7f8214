"""Audio on the worker's own disk: fetched once, let go in time, and nothing left of the dead."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from lapel.foundation.storage.errors import ObjectMissing, StoreUnavailable
from lapel.foundation.storage.store import ObjectStore
from lapel.recordings.service import Audio
from lapel.transcription.failures import SpeechError
from lapel.transcription.scratch import Scratch

SIZE = 20 * 1024 * 1024


class Ranges:
    """A store that counts what is asked of it, and may fail."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []
        self.fault: Exception | None = None

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        self.asked.append((key, start, length))
        if self.fault is not None:
            raise self.fault
        return bytes([start // length % 256]) * min(length, SIZE - start)


def audio(name: str) -> Audio:
    return Audio(
        recording_id="rec_1",
        end_user_id="eu_1",
        device_id=None,
        name=None,
        recorded_at=datetime.now(UTC),
        media_id="med_1",
        object_key=name,
        content_type="audio/ogg",
        size=SIZE,
    )


@pytest.fixture
def store() -> Ranges:
    return Ranges()


@pytest.fixture
def scratch(tmp_path: Path, store: Ranges) -> Scratch:
    return Scratch(tmp_path / "scratch", cast("ObjectStore", store))


async def test_an_audio_is_fetched_once_in_ranges_and_kept_for_the_next_step(
    scratch: Scratch, store: Ranges
) -> None:
    for _ in range(2):
        async with scratch.audio(audio("a")) as place:
            assert place.file.stat().st_size == SIZE
            assert place.folder.stat().st_mode & 0o777 == 0o700
    assert [length for _, _, length in store.asked] == [8 * 1024 * 1024] * 2 + [4 * 1024 * 1024]
    await scratch.close()


async def test_many_that_are_let_go_at_once_disturb_nobody(scratch: Scratch, tmp_path: Path) -> None:
    everybody = asyncio.Barrier(12)

    async def use(name: str) -> None:
        async with scratch.audio(replace(audio(name), size=1)) as place:
            await everybody.wait()
            assert place.file.exists()
        async with scratch.audio(replace(audio(name), size=1)) as place:
            await asyncio.sleep(0)
            assert place.file.exists()

    await asyncio.gather(*(use(str(number)) for number in range(12)))
    own = next((tmp_path / "scratch").iterdir())
    assert sum(each.is_dir() for each in own.iterdir()) <= 4
    await scratch.close()


async def test_two_at_once_fetch_it_once(scratch: Scratch, store: Ranges) -> None:
    async def use() -> None:
        async with scratch.audio(audio("a")):
            await asyncio.sleep(0)

    await asyncio.gather(*(use() for _ in range(5)))
    assert len(store.asked) == 3
    await scratch.close()


async def test_what_nobody_uses_goes_when_others_come_and_what_is_used_stays(
    scratch: Scratch, tmp_path: Path
) -> None:
    async with scratch.audio(audio("used")) as used:
        for number in range(10):
            async with scratch.audio(audio(str(number))):
                pass
        assert used.file.exists()
        folders = list((tmp_path / "scratch").rglob("audio"))
        assert len(folders) == 1 + 4
    await scratch.close()
    assert not (tmp_path / "scratch").exists()


async def test_an_outage_is_passed_on_and_the_next_try_fetches_anew(scratch: Scratch, store: Ranges) -> None:
    store.fault = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable):
        async with scratch.audio(audio("a")):
            pass
    store.fault = None
    async with scratch.audio(audio("a")) as place:
        assert place.file.stat().st_size == SIZE
    store.fault = ObjectMissing("b")
    with pytest.raises(SpeechError, match="not in the store"):
        async with scratch.audio(audio("b")):
            pass
    await scratch.close()


async def test_the_next_process_removes_what_a_killed_one_left_and_nothing_of_the_living(
    scratch: Scratch, store: Ranges, tmp_path: Path
) -> None:
    async with scratch.audio(audio("a")) as living:
        dead = tmp_path / "scratch" / "1-deadbeef"
        (dead / "x").mkdir(parents=True)
        (dead / "held").touch()
        other = Scratch(tmp_path / "scratch", cast("ObjectStore", store))
        async with other.audio(audio("b")):
            assert not dead.exists()
            assert living.file.exists()
        await other.close()
        assert living.file.exists()
    await scratch.close()


def test_many_processes_that_come_and_go_never_remove_anothers_folder(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from lapel.transcription.own_folder import OwnFolder\n"
        "for _ in range(200):\n"
        "    own = OwnFolder(pathlib.Path(sys.argv[1]))\n"
        "    assert own.is_held\n"
        "    own.close()\n"
    )
    root = tmp_path / "scratch"
    started = [subprocess.Popen([sys.executable, "-c", code, str(root)]) for _ in range(4)]
    try:
        assert [each.wait(60) for each in started] == [0] * 4
    finally:
        for each in started:
            each.kill()
    assert not root.exists()


async def test_a_folder_that_lost_its_lock_keeps_what_is_used(
    scratch: Scratch, store: Ranges, tmp_path: Path
) -> None:
    async with scratch.audio(audio("a")) as used:
        (used.folder.parent / "held").unlink()
        async with scratch.audio(audio("b")) as other:
            assert other.folder.parent == used.folder.parent
            assert used.file.exists()
        assert (used.folder.parent / "held").exists()
    await scratch.close()
    assert not (tmp_path / "scratch").exists()


async def test_what_was_left_without_its_lock_is_removed_and_what_is_not_ours_stays(
    scratch: Scratch, tmp_path: Path
) -> None:
    left, theirs = tmp_path / "scratch" / "1-deadbeef", tmp_path / "scratch" / "theirs"
    for each in (left, theirs):
        each.mkdir(parents=True)
        (each / "audio.pcm").touch()
    async with scratch.audio(audio("a")):
        assert not left.exists()
    assert (theirs / "audio.pcm").exists()
    await scratch.close()


async def test_what_somebody_else_has_removed_is_fetched_again(
    scratch: Scratch, store: Ranges, tmp_path: Path
) -> None:
    """As systems do with files in their temporary folder that nobody touched for days."""
    async with scratch.audio(audio("a")):
        pass
    shutil.rmtree(tmp_path / "scratch")
    for name in ("a", "b"):
        async with scratch.audio(audio(name)) as place:
            assert place.file.stat().st_size == SIZE
    assert len(store.asked) == 9
    await scratch.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
async def test_somebody_elses_folder_is_refused(scratch: Scratch, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    os.chown(tmp_path / "scratch", 12345, 12345)
    with pytest.raises(PermissionError, match="LAPEL_SCRATCH_DIR"):
        async with scratch.audio(audio("a")):
            pass
