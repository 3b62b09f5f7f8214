"""Audio on the worker's own disk: fetched once, gone after its last use, and nothing left of the dead."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from lapel.foundation.ports import Ports
from lapel.foundation.storage.client import ObjectStore
from lapel.foundation.storage.errors import ObjectMissing, StoreUnavailable
from lapel.slices.erasure.service import LocalCopies
from lapel.slices.recordings.service import Audio
from lapel.slices.transcription.speech.failures import SpeechError
from lapel.slices.transcription.work.scratch import Scratch
from lapel.slices.transcription.work.scratch_place import ScratchPlace
from tests.support.patience import patience
from tests.support.tenants import Tenant

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


class Desk:
    """A worker's scratch folder, and audio of a tenant's recordings."""

    def __init__(self, ports: Ports, tenant: Tenant, root: Path, store: Ranges) -> None:
        self.root = root
        self.store = store
        self.world_id = tenant.test_world
        self._ports = ports
        self.scratch = self.another()

    def another(self, *, look_seconds: float = 5) -> Scratch:
        """Another worker's, on the same disk."""
        database, store = self._ports.database, cast("ObjectStore", self.store)
        copies = LocalCopies(database)
        return Scratch(self.root, store, database, copies, look_seconds=look_seconds)

    def audio(self, name: str, size: int = SIZE) -> Audio:
        """An audio of a recording of its own."""
        return replace(ANY, world_id=self.world_id, recording_id=f"rec_{name}", object_key=name, size=size)

    def files(self) -> list[Path]:
        """What lies on the disk, but for locks."""
        return [each for each in self.root.rglob("*") if each.is_file() and each.name != "held"]

    async def rows(self) -> int:
        """How many copies the ledger knows of."""
        async with self._ports.database.acquire() as connection:
            return await connection.fetchval(
                "SELECT count(*) FROM local_copies WHERE world_id = $1", self.world_id
            )

    async def step(self, name: str, *, next_waits: bool = False) -> ScratchPlace:
        """Use an audio once, as a step of the work on it does."""
        async with self.scratch.working_on(self.world_id, f"rec_{name}") as stay:
            async with self.scratch.audio(self.audio(name)) as place:
                assert place.file.stat().st_size == SIZE
            stay.next_waits = next_waits
        return place


ANY = Audio(
    world_id=0,
    recording_id="rec_1",
    end_user_id="eu_1",
    device_id=None,
    name=None,
    recorded_at=datetime.now(UTC),
    media_id="med_1",
    object_key="",
    content_type="audio/ogg",
    size=SIZE,
    claimed_ms=None,
)


@pytest.fixture
def store() -> Ranges:
    return Ranges()


@pytest.fixture
async def desk(ports: Ports, tenant: Tenant, tmp_path: Path, store: Ranges) -> AsyncGenerator[Desk]:
    made = Desk(ports, tenant, tmp_path / "scratch", store)
    yield made
    await made.scratch.close()
    assert not made.root.exists()
    assert await made.rows() == 0


async def test_it_is_gone_when_its_last_user_leaves(desk: Desk) -> None:
    async with desk.scratch.audio(desk.audio("a")), desk.scratch.audio(desk.audio("a")) as place:
        assert place.file.stat().st_size == SIZE
        assert await desk.rows() == 1
    assert desk.files() == []
    assert await desk.rows() == 0
    await desk.step("a")
    assert desk.files() == []
    assert await desk.rows() == 0


async def test_an_audio_for_which_the_disk_has_no_room_is_not_fetched(desk: Desk) -> None:
    """Fetched anew with each try, it would fill the disk for all else that is on it."""
    with pytest.raises(OSError, match="free") as refused:
        async with desk.scratch.audio(desk.audio("a", size=2**62)):
            pass
    assert refused.value.errno == errno.ENOSPC
    assert desk.store.asked == []
    assert desk.files() == []
    assert await desk.rows() == 0


async def test_it_is_fetched_once_in_ranges_and_stays_while_its_next_step_waits(desk: Desk) -> None:
    for _ in range(2):
        await desk.step("a", next_waits=True)
        assert [each.name for each in desk.files()] == ["audio"]
    assert [length for _, _, length in desk.store.asked] == [8 * 1024 * 1024] * 2 + [4 * 1024 * 1024]
    await desk.step("a")
    assert desk.files() == []


async def test_nobody_else_can_read_it_and_a_folder_that_was_there_stays_as_it_is(desk: Desk) -> None:
    desk.root.mkdir(mode=0o755)
    desk.root.chmod(0o1777)  # as a place for all is
    before = os.umask(0)
    try:
        place = await desk.step("a", next_waits=True)
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o7777 for path in desk.root.rglob("*")}
    assert {path for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == set()
    assert place.file in modes
    assert desk.root.stat().st_mode & 0o7777 == 0o1777


async def test_many_that_are_let_go_at_once_disturb_nobody(desk: Desk) -> None:
    everybody = asyncio.Barrier(12)

    async def use(name: str) -> None:
        async with desk.scratch.working_on(desk.world_id, f"rec_{name}") as stay:
            async with desk.scratch.audio(desk.audio(name, 1)) as place:
                await everybody.wait()
                assert place.file.exists()
            async with desk.scratch.audio(desk.audio(name, 1)) as place:
                await asyncio.sleep(0)
                assert place.file.exists()
            stay.next_waits = True

    await asyncio.gather(*(use(str(number)) for number in range(12)))
    assert len(desk.files()) <= 4
    assert await desk.rows() == len(desk.files())


async def test_two_at_once_fetch_it_once(desk: Desk) -> None:
    async def use() -> None:
        async with desk.scratch.audio(desk.audio("a")):
            await asyncio.sleep(0)

    await asyncio.gather(*(use() for _ in range(5)))
    assert len(desk.store.asked) == 3


async def test_of_those_that_wait_the_oldest_go_and_what_is_used_stays(desk: Desk) -> None:
    async with desk.scratch.audio(desk.audio("used")) as used:
        for number in range(10):
            await desk.step(str(number), next_waits=True)
        assert used.file.exists()
        assert len(desk.files()) == 1 + 4


async def test_an_outage_is_passed_on_and_the_next_try_fetches_anew(desk: Desk) -> None:
    desk.store.fault = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable):
        await desk.step("a")
    assert desk.files() == []
    desk.store.fault = None
    await desk.step("a")
    desk.store.fault = ObjectMissing("b")
    with pytest.raises(SpeechError, match="not in the store"):
        await desk.step("b")


async def test_a_worker_that_starts_removes_what_a_killed_one_left_and_nothing_of_the_living(
    desk: Desk, ports: Ports
) -> None:
    async with desk.scratch.audio(desk.audio("a")) as living:
        dead = desk.root / "1-deadbeef"
        (dead / "x").mkdir(parents=True)
        (dead / "held").touch()
        (dead / "x" / "audio").write_bytes(b"speech")
        await LocalCopies(ports.database).register(dead.name, desk.world_id, "rec_dead")
        other = desk.another()
        await other.start()
        assert not dead.exists()
        assert await desk.rows() == 1
        assert living.file.exists()
        await other.close()
        assert living.file.exists()
    assert desk.files() == []


async def test_a_folder_that_lost_its_lock_keeps_what_is_used(desk: Desk) -> None:
    async with desk.scratch.audio(desk.audio("a")) as used:
        (used.folder.parent / "held").unlink()
        async with desk.scratch.audio(desk.audio("b")) as other:
            assert other.folder.parent == used.folder.parent
            assert used.file.exists()
        assert (used.folder.parent / "held").exists()


async def test_what_was_left_without_its_lock_is_removed_and_what_is_not_ours_stays(desk: Desk) -> None:
    left, theirs = desk.root / "1-deadbeef", desk.root / "theirs"
    for each in (left, theirs):
        each.mkdir(parents=True)
        (each / "audio.pcm").touch()
    async with desk.scratch.audio(desk.audio("a")):
        assert not left.exists()
    assert (theirs / "audio.pcm").exists()
    shutil.rmtree(theirs)


async def test_what_somebody_else_has_removed_is_fetched_again(desk: Desk) -> None:
    """As systems do with files in their temporary folder that nobody touched for days."""
    await desk.step("a", next_waits=True)
    shutil.rmtree(desk.root)
    for name in ("a", "b"):
        await desk.step(name)
    assert len(desk.store.asked) == 9


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
async def test_somebody_elses_folder_is_refused_and_the_worker_starts_all_the_same(desk: Desk) -> None:
    desk.root.mkdir()
    os.chown(desk.root, 12345, 12345)
    await desk.scratch.start()
    with pytest.raises(PermissionError, match="LAPEL_SCRATCH_DIR"):
        await desk.step("a")
    desk.root.rmdir()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a link away")
async def test_a_link_of_another_user_is_refused(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    desk.root.symlink_to(tmp_path / "ours")
    os.lchown(desk.root, 12345, 12345)
    with pytest.raises(PermissionError, match="another user"):
        await desk.step("a")
    desk.root.unlink()


async def test_no_process_holds_an_audio_open_when_it_is_removed(
    ports: Ports, tenant: Tenant, tmp_path: Path, store: Ranges
) -> None:
    there: list[bool] = []

    async def leaving(file: Path) -> None:
        there.append(await asyncio.to_thread(file.exists))

    desk = Desk(ports, tenant, tmp_path / "scratch", store)
    desk.scratch = Scratch(
        desk.root, cast("ObjectStore", store), ports.database, LocalCopies(ports.database), leaving=leaving
    )
    await desk.step("a", next_waits=True)
    assert there == []
    place = await desk.step("a")
    assert there == [True]
    assert not place.folder.exists()
    await desk.scratch.close()


async def test_what_cannot_be_removed_keeps_its_row_until_it_can(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *, ignore_errors: bool = False) -> None:
        if ignore_errors:
            return
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    desk.scratch = desk.another(look_seconds=0.05)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", refuse)
        await desk.step("a")
        assert len(desk.files()) == await desk.rows() == 1
    await desk.scratch.start()  # and looks from here on
    async with patience(60):
        while desk.files() or await desk.rows():  # noqa: ASYNC110 - a disk and a database
            await asyncio.sleep(0.02)


class Fickle(LocalCopies):
    """Fails once, in a way that nobody foresaw."""

    failed = False

    async def renew(self, holder: str) -> set[tuple[int, str]]:
        if not self.failed:
            self.failed = True
            raise ValueError("unforeseen")
        return await super().renew(holder)


async def test_it_looks_on_after_a_fault_that_nobody_foresaw(
    desk: Desk, ports: Ports, store: Ranges, tmp_path: Path
) -> None:
    copies = Fickle(ports.database)
    await desk.scratch.close()
    desk.scratch = Scratch(
        tmp_path / "scratch", cast("ObjectStore", store), ports.database, copies, look_seconds=0.02
    )
    await desk.scratch.start()
    async with patience(60):
        while not copies.failed:  # noqa: ASYNC110 - a loop of its own
            await asyncio.sleep(0.01)
        await desk.step("a", next_waits=True)  # for which no step waits in the queue
        while desk.files():  # noqa: ASYNC110 - another loop removes them
            await asyncio.sleep(0.01)


async def test_it_closes_while_its_users_remove_their_places(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = shutil.rmtree

    def lose(path: Path, *, ignore_errors: bool = False) -> None:
        """As when another thread was faster."""
        really(path)
        really(path, ignore_errors=ignore_errors)

    await desk.step("a", next_waits=True)
    monkeypatch.setattr(shutil, "rmtree", lose)
    await desk.scratch.close()
    assert desk.files() == []


class Notified(LocalCopies):
    """Copies whose notifications the test sends."""

    on_erased: Callable[[], None] | None = None

    async def listen(self, holder: str, on_erased: Callable[[], None]) -> None:  # noqa: ARG002 - its base's
        self.on_erased = on_erased
        await asyncio.Event().wait()


async def test_it_closes_at_the_moment_of_a_notification(
    desk: Desk, ports: Ports, store: Ranges, tmp_path: Path
) -> None:
    copies = Notified(ports.database)
    await desk.scratch.close()
    desk.scratch = Scratch(tmp_path / "scratch", cast("ObjectStore", store), ports.database, copies)
    await desk.scratch.start()
    async with patience(60):
        while copies.on_erased is None:  # noqa: ASYNC110 - a task of its own sets it
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # the look that follows the start
        copies.on_erased()
        await desk.scratch.close()
