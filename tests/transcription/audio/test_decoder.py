"""The decoder's bounds: time, memory, disk, number; and that it is there again after whatever happened."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import psutil
import pytest

from lapel.sample import speech
from lapel.slices.transcription.audio.audio_facts import AudioFacts
from lapel.slices.transcription.audio.decoder import Decoder
from lapel.slices.transcription.speech.failures import DiskFull, SpeechError, TryAgain, TurnOver
from tests.transcription.audio.signals import encoded, silent_flac, tone, wav

MIB = 1024 * 1024
linux = pytest.mark.skipif(sys.platform != "linux", reason="as Linux bounds and tells it")


@asynccontextmanager
async def opened(**settings: float) -> AsyncGenerator[Decoder]:
    decoder = Decoder(**{"children": 1, "spare_bytes": 0, **settings})
    try:
        yield decoder
    finally:
        await decoder.aclose()
        assert decoder.pids == []


@pytest.fixture(scope="module")
async def tough() -> AsyncGenerator[Decoder]:
    """With one child, which starts anew after whatever the tests do to it."""
    async with opened(max_hours=1e6) as decoder:
        yield decoder


async def good(decoder: Decoder) -> None:
    assert (await decoder.decode(speech().path, declared="audio/opus")).duration_ms > 24_000


@pytest.fixture
def bomb(tmp_path: Path) -> Path:
    """Two megabytes that are eight thousand million samples: more work than any test waits for."""
    file = tmp_path / "bomb"
    file.write_bytes(silent_flac(20_000, rate=192_000, channels=6))
    return file


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - of another process, nobody sets an event
        await asyncio.sleep(0.005)


def size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


async def test_longer_than_is_processed(tmp_path: Path) -> None:
    pcm = tmp_path / "pcm"
    async with opened(max_hours=0.02) as decoder:
        file = tmp_path / "file"
        file.write_bytes(wav(bytes(32_000 * 73)))
        with pytest.raises(SpeechError, match=r"longer than 0\.02 hours") as failed:
            await decoder.decode(file, declared="audio/wav", pcm=pcm)
        assert failed.value.code == "processing_error"
        assert not pcm.exists()
        await good(decoder)


async def test_longer_than_it_may_take(bomb: Path, tmp_path: Path) -> None:
    pcm = tmp_path / "pcm"
    with bomb.open("ab") as file:
        file.write(bytes(20 * MIB))  # which buys no time
    async with opened(max_hours=1e6, seconds=2) as decoder:
        await good(decoder)
        with pytest.raises(SpeechError, match="took longer than 2 s") as failed:
            await decoder.decode(bomb, declared="audio/flac", pcm=pcm)
        assert failed.value.code == "audio_corrupt"
        assert not pcm.exists()
        assert decoder.pids == []
        await good(decoder)


@linux
async def test_more_memory_than_it_may_take(tmp_path: Path) -> None:
    """One block of 64 MiB, which nobody wrote: the file has a hole."""
    whole = encoded("matroska", "pcm_s16le", 16_000)
    start = whole[: whole.index(b"\x1f\x43\xb6\x75")]
    length = 64 * MIB
    block = b"\xa3" + (1 << 56 | length).to_bytes(8, "big") + b"\x81\0\0\x80"
    file = tmp_path / "block"
    file.write_bytes(start + b"\x1f\x43\xb6\x75\x01" + b"\xff" * 7 + b"\xe7\x81\0" + block)
    os.truncate(file, size(file) + length)
    async with opened(memory_bytes=370 * MIB) as decoder:
        await good(decoder)
        pids = decoder.pids
        with pytest.raises(SpeechError, match="more memory than is allowed") as failed:
            await decoder.decode(file, declared="audio/webm", pcm=tmp_path / "pcm")
        assert failed.value.code == "audio_corrupt"
        await good(decoder)
        assert decoder.pids == pids


@linux
async def test_memory_does_not_grow_with_length(tough: Decoder, tmp_path: Path) -> None:
    def most(tough: Decoder) -> int:
        (pid,) = tough.pids
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    file = tmp_path / "file"
    file.write_bytes(silent_flac(960, rate=16_000, block=4_096))  # four minutes
    await tough.decode(file, declared="audio/flac", pcm=tmp_path / "pcm")
    before = most(tough)
    file.write_bytes(silent_flac(19_200, rate=16_000, block=4_096))  # 82 minutes
    facts = await tough.decode(file, declared="audio/flac", pcm=tmp_path / "pcm")
    assert facts.duration_ms == size(tmp_path / "pcm") // 32 == 19_200 * 4_096 // 16
    assert len(facts.pieces) > 16
    assert most(tough) - before < 4 * MIB


async def test_a_disk_that_must_keep_some_room(tmp_path: Path) -> None:
    async with opened(spare_bytes=1 << 62) as decoder:
        with pytest.raises(DiskFull, match="nearly full"):
            await decoder.decode(speech().path, declared="audio/opus", pcm=tmp_path / "pcm")
        assert not (tmp_path / "pcm").exists()
        await good(decoder)  # which writes nothing


@linux
async def test_a_full_disk(tough: Decoder, tmp_path: Path) -> None:
    pcm = tmp_path / "pcm"
    pcm.symlink_to("/dev/full")
    with pytest.raises(DiskFull, match="No space left"):
        await tough.decode(speech().path, declared="audio/opus", pcm=pcm)
    assert not pcm.is_symlink()


async def test_files_that_are_not_there(tough: Decoder, tmp_path: Path) -> None:
    with pytest.raises(TryAgain, match="cannot be read"):
        await tough.decode(tmp_path / "nowhere", declared="audio/opus")
    with pytest.raises(TryAgain, match="cannot be read"):
        await tough.decode(tmp_path, declared="audio/opus")
    with pytest.raises(TryAgain, match="cannot be written"):
        await tough.decode(speech().path, declared="audio/opus", pcm=tmp_path / "no" / "pcm")


@pytest.mark.parametrize(
    ("how", "error", "code"),
    [
        (signal.SIGKILL, TryAgain, "processing_error"),
        (signal.SIGSEGV, SpeechError, "audio_corrupt"),
    ],
)
async def test_a_child_that_dies(
    tough: Decoder,
    bomb: Path,
    tmp_path: Path,
    how: signal.Signals,
    error: type[TryAgain | SpeechError],
    code: str,
) -> None:
    pcm = tmp_path / "pcm"
    decoding = asyncio.create_task(tough.decode(bomb, declared="audio/flac", pcm=pcm))
    await until(lambda: size(pcm) > MIB // 4)
    os.kill(tough.pids[0], how)
    with pytest.raises(error) as failed:
        await decoding
    assert failed.value.code == code
    assert not pcm.exists()
    await good(tough)


async def test_a_decode_that_is_cancelled_ends_the_child(tough: Decoder, bomb: Path, tmp_path: Path) -> None:
    pcm = tmp_path / "pcm"
    decoding = asyncio.create_task(tough.decode(bomb, declared="audio/flac", pcm=pcm))
    await until(lambda: size(pcm) > MIB // 4)
    (pid,) = tough.pids
    decoding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await decoding
    assert not psutil.pid_exists(pid)
    assert not pcm.exists()
    await good(tough)


async def test_only_so_many_at_once(bomb: Path, tmp_path: Path) -> None:
    async with opened(children=2, max_hours=1e6) as decoder:
        long = [
            asyncio.create_task(decoder.decode(bomb, declared="audio/flac", pcm=tmp_path / str(n)))
            for n in range(4)
        ]
        await until(lambda: size(tmp_path / "0") > 0 and size(tmp_path / "1") > 0)
        assert len(set(decoder.pids)) == 2
        assert not (tmp_path / "2").exists()
        long[2].cancel()  # one that waits
        long[0].cancel()
        await until(lambda: size(tmp_path / "3") > 0)
        assert not (tmp_path / "2").exists()
        for each in long:
            each.cancel()
        assert [type(done) for done in await asyncio.gather(*long, return_exceptions=True)] == [
            asyncio.CancelledError
        ] * 4
        await asyncio.gather(*(good(decoder) for _ in range(3)))


async def in_turns(decoder: Decoder, file: Path, pcm: Path, owner: int = 0) -> tuple[AudioFacts, int]:
    """What is true of it, and how many turns were not enough."""
    turns = 0
    while True:
        try:
            return await decoder.decode(file, declared="audio/wav", pcm=pcm, owner=owner), turns
        except TurnOver:
            turns += 1


async def one_turn(decoder: Decoder, file: Path, pcm: Path, owner: int) -> bool:
    """Whether what it did in this turn is kept."""
    with pytest.raises(TurnOver) as over:
        await decoder.decode(file, declared="audio/flac", pcm=pcm, owner=owner)
    return over.value.kept


async def test_in_turns_it_comes_out_as_in_one_go(tough: Decoder, tmp_path: Path) -> None:
    file, whole, parts = tmp_path / "file", tmp_path / "whole", tmp_path / "parts"
    file.write_bytes(wav(tone(48_000, 60, 2).tobytes(), rate=48_000, channels=2))
    facts = await tough.decode(file, declared="audio/wav", pcm=whole)
    async with opened(turn_seconds=0.01) as decoder:
        again, turns = await in_turns(decoder, file, parts)
    assert turns > 0
    assert again == facts
    assert parts.read_bytes() == whole.read_bytes()


async def test_between_turns_it_rests_and_others_have_its_place(bomb: Path, tmp_path: Path) -> None:
    pcm = tmp_path / "pcm"
    async with opened(max_hours=1e6, turn_seconds=0.05) as decoder:
        assert await one_turn(decoder, bomb, pcm, 1)
        (pid,) = decoder.pids
        await until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        done, _ = await in_turns(decoder, speech().path, tmp_path / "other", 2)
        assert done.duration_ms > 24_000
        before = size(pcm)
        while size(pcm) == before:  # it goes on where it was, in the same child
            assert await one_turn(decoder, bomb, pcm, 1)
        assert pid in decoder.pids


async def test_places_between_turns_are_shared_out_among_owners(bomb: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"bomb {n}" for n in range(4)]
    for file in files:
        file.hardlink_to(bomb)
    pcms = [tmp_path / f"pcm {n}" for n in range(4)]
    async with opened(max_hours=1e6, turn_seconds=0.05, seats=2) as decoder:
        assert await one_turn(decoder, files[0], pcms[0], 1)
        assert await one_turn(decoder, files[1], pcms[1], 1)
        assert await one_turn(decoder, files[2], pcms[2], 2)  # whose owner has none: one of the other's goes
        assert [pcm.exists() for pcm in pcms] == [True, False, True, False]
        assert not await one_turn(decoder, files[3], pcms[3], 3)  # the only one of an owner stays
        assert [pcm.exists() for pcm in pcms] == [True, False, True, False]
        assert len(decoder.pids) == 2


async def test_what_is_removed_between_turns_is_not_kept_by_a_child(bomb: Path, tmp_path: Path) -> None:
    pcm = tmp_path / "pcm"
    async with opened(max_hours=1e6, turn_seconds=0.05) as decoder:
        assert await one_turn(decoder, bomb, pcm, 1)
        await asyncio.to_thread(bomb.unlink)
        await until(lambda: decoder.pids == [])
        await until(lambda: not pcm.exists())


async def test_what_is_about_to_be_removed_is_let_go(bomb: Path, tmp_path: Path) -> None:
    pcm = tmp_path / "pcm"
    async with opened(max_hours=1e6, turn_seconds=0.05) as decoder:
        assert await one_turn(decoder, bomb, pcm, 1)
        await decoder.forget(tmp_path / "another")
        assert len(decoder.pids) == 1
        await decoder.forget(bomb)
        assert decoder.pids == []
        assert not pcm.exists()


async def test_closed_between_turns(bomb: Path, tmp_path: Path) -> None:
    pcm = tmp_path / "pcm"
    async with opened(max_hours=1e6, turn_seconds=0.05) as decoder:
        assert await one_turn(decoder, bomb, pcm, 1)
        await decoder.aclose()
        assert not pcm.exists()


async def test_turns_count_together(bomb: Path, tmp_path: Path) -> None:
    async with opened(max_hours=1e6, seconds=0.3, turn_seconds=0.05) as decoder:
        with pytest.raises(SpeechError, match=r"took longer than 0 s"):
            await in_turns(decoder, bomb, tmp_path / "pcm")
        assert not (tmp_path / "pcm").exists()


async def test_closed_in_mid_work(bomb: Path, tmp_path: Path) -> None:
    async with opened(max_hours=1e6) as decoder:
        decoding = [
            asyncio.create_task(decoder.decode(bomb, declared="audio/flac", pcm=tmp_path / str(n)))
            for n in range(3)
        ]
        await until(lambda: size(tmp_path / "0") > 0)
        await decoder.aclose()
        ended = await asyncio.gather(*decoding, return_exceptions=True)
        assert [type(each) for each in ended] == [TryAgain] * 3
        assert decoder.pids == []
        assert not any((tmp_path / str(n)).exists() for n in range(3))


async def test_cancelled_while_it_makes_room_it_loses_no_place(
    bomb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / f"bomb {n}" for n in range(3)]
    for file in files:
        file.hardlink_to(bomb)
    pcms = [tmp_path / f"pcm {n}" for n in range(3)]
    removing, go_on = threading.Event(), threading.Event()

    def remove(self: Path, *, missing_ok: bool = False) -> None:
        removing.set()
        go_on.wait()
        os.unlink(self)  # noqa: PTH108 - Path.unlink is this function

    async with opened(max_hours=1e6, turn_seconds=0.05, seats=2) as decoder:
        assert await one_turn(decoder, files[0], pcms[0], 1)
        assert await one_turn(decoder, files[1], pcms[1], 1)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", remove)
            turn = asyncio.create_task(one_turn(decoder, files[2], pcms[2], 2))
            await until(removing.is_set)  # the newest of the first owner makes room
            turn.cancel()
            await asyncio.sleep(0)
            go_on.set()
            await asyncio.wait({turn})
        await until(lambda: [pcm.exists() for pcm in pcms] == [True, False, False])
        assert await one_turn(decoder, files[1], pcms[1], 1)
        assert await one_turn(decoder, files[2], pcms[2], 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("duration_ms", -1),
        ("duration_ms", 2**60),
        ("channels", -1),
        ("codec", "a\0"),
        ("container", "x" * 200),
        ("mime_type", "audio/ogg\r\nX: y"),
        ("peaks", bytes(5_000)),
        ("pieces", [(0, 1)] * 20_000),
        ("pieces", [(-1, 1)]),
    ],
)
async def test_a_child_that_was_taken_over_is_not_believed_everything(name: str, value: object) -> None:
    facts = AudioFacts(
        duration_ms=1, channels=1, sample_rate=1, codec="", container="", mime_type="", peaks=b"", pieces=[]
    )
    honest = msgspec.to_builtins(facts, builtin_types=(bytes,))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(honest), type=AudioFacts) == facts
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(honest | {name: value}), type=AudioFacts)
