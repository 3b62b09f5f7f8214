"""The spawner starts known fenced children, as fenced as their parent's own, and refuses all else."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from lapel.foundation.workers.spawning.spawner_client import SpawnerClient
from lapel.foundation.workers.worker_process import SubworkerDied, SubworkerTimeout, WorkerProcess
from tests.foundation.workers import escape
from tests.foundation.workers.odd_child import Ask, Told
from tests.foundation.workers.own_spawner import spawner_of_tests
from tests.support.patience import LONG, patience

ODD = "tests.foundation.workers.odd_child"
PRISONER = "tests.foundation.workers.prisoner"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has messages with borders here")


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the tests run, a child finds its module."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))


@pytest.fixture(scope="module")
def shared() -> Generator[tuple[socket.socket, int]]:
    """The spawner of tests that leave it as it was: our end of its socket, and its process id."""
    with spawner_of_tests(ODD) as spawner:
        yield spawner


@pytest.fixture
async def worker(
    shared: tuple[socket.socket, int], monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[WorkerProcess]:
    ours, pid = shared
    monkeypatch.setattr(WorkerProcess, "spawner", SpawnerClient(pid, ours))
    worker = WorkerProcess(ODD)
    yield worker
    await worker.close()


async def ask(worker: WorkerProcess, do: str, number: int = 0, seconds: float = LONG) -> Told:
    return await worker.call(Ask(do=do, number=number, text="here"), Told, seconds=seconds)


async def true_of(found: Callable[[], bool]) -> None:
    async with patience(LONG):
        while not found():  # noqa: ASYNC110 - of another process, nobody sets an event
            await asyncio.sleep(0.01)


async def test_a_child_of_the_spawner_answers_and_has_no_setting(
    worker: WorkerProcess, shared: tuple[socket.socket, int]
) -> None:
    told = await ask(worker, "echo")
    assert (told.text, told.pid) == ("here", worker.pid)
    assert psutil.Process(told.pid).ppid() == shared[1]
    assert not [each for each in psutil.Process(told.pid).environ() if each.startswith("LAPEL_")]


async def test_a_trusted_child_gets_none_of_the_spawners_rights(worker: WorkerProcess) -> None:
    trusted = WorkerProcess(ODD, reads=None)
    try:
        assert psutil.Process((await ask(trusted, "echo")).pid).ppid() == os.getpid()
    finally:
        await trusted.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights that it could give up")
async def test_a_child_of_the_spawner_is_as_fenced_as_one_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[dict[str, str]] = []
    with spawner_of_tests(PRISONER) as (ours, pid), socket.create_server(("127.0.0.1", 0)) as listener:
        for spawner in (None, SpawnerClient(pid, ours)):
            monkeypatch.setattr(WorkerProcess, "spawner", spawner)
            child = WorkerProcess(PRISONER)
            try:
                found.append(await escape.tried(child, tmp_path, listener.getsockname()[1]))
            finally:
                await child.close()
    own, spawned = found
    assert own["CapEff"] == own["CapBnd"] == "0" * 16
    assert spawned == own


@pytest.mark.parametrize(("do", "number", "how"), [("exit", 3, "exit 3"), ("kill", 9, "SIGKILL")])
async def test_the_end_of_a_child_is_reported(worker: WorkerProcess, do: str, number: int, how: str) -> None:
    with pytest.raises(SubworkerDied, match=how):
        await ask(worker, do, number)
    assert (await ask(worker, "echo")).text == "here"


async def test_a_child_can_be_paused_interrupted_and_ended(worker: WorkerProcess) -> None:
    pid = (await ask(worker, "echo")).pid
    worker.pause()
    await true_of(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    worker.resume()
    assert (await ask(worker, "echo")).pid == pid
    worker.interrupt()
    with pytest.raises(SubworkerDied, match="SIGUSR1"):
        await ask(worker, "sleep", 600)
    pid = (await ask(worker, "echo")).pid
    with pytest.raises(SubworkerTimeout):
        await ask(worker, "sleep", 600, seconds=0.01)
    await true_of(lambda: not psutil.pid_exists(pid))


async def test_descriptors_and_children_end_with_the_call(
    worker: WorkerProcess, shared: tuple[socket.socket, int]
) -> None:
    await ask(worker, "echo")
    await worker.close()
    here, there = psutil.Process(), psutil.Process(shared[1])
    await true_of(lambda: not there.children())
    until_idle(shared[0])
    before = here.num_fds(), there.num_fds()
    for _ in range(3):
        await ask(worker, "echo")
        await worker.close()
    await true_of(lambda: (here.num_fds(), there.num_fds()) == before)


async def test_a_killed_spawner_takes_its_children_along(monkeypatch: pytest.MonkeyPatch) -> None:
    with spawner_of_tests(ODD) as (ours, spawner):
        client = SpawnerClient(spawner, ours)
        monkeypatch.setattr(WorkerProcess, "spawner", client)
        worker = WorkerProcess(ODD)
        child = (await ask(worker, "echo")).pid
        working = asyncio.create_task(ask(worker, "sleep", 600))
        await asyncio.sleep(0)
        os.kill(spawner, signal.SIGKILL)
        async with patience(LONG):
            await client.ended()
            with pytest.raises(SubworkerDied):
                await working
        await true_of(lambda: not psutil.pid_exists(child))
        with pytest.raises(SubworkerDied):
            await ask(worker, "echo")
        await worker.close()


async def test_children_end_when_their_client_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    with spawner_of_tests(ODD) as (ours, spawner):
        monkeypatch.setattr(WorkerProcess, "spawner", SpawnerClient(spawner, ours))
        worker = WorkerProcess(ODD)
        child = (await ask(worker, "echo")).pid
        ours.close()
        await true_of(lambda: not psutil.pid_exists(child))
        await worker.close()


def program(**changes: Any) -> bytes:
    honest = {"module": ODD, "arguments": [], "memory_bytes": 0, "reads": []}
    return msgspec.msgpack.encode(honest | changes)


def without(field: str) -> bytes:
    fields = msgspec.msgpack.decode(program())
    del fields[field]
    return msgspec.msgpack.encode(fields)


HOSTILE = {
    "a module of Python": program(module="http.server"),
    "another module of ours": program(module="tests.foundation.workers.escape"),
    "an option of Python": program(module="-c"),
    "a module with a space": program(module=f"{ODD} "),
    "a child that keeps all rights": program(reads=None),
    "reads left out": without("reads"),
    "no module": without("module"),
    "a parent of its own": program(parent=1),
    "an environment": program(env={"LD_PRELOAD": "/tmp/x.so"}),
    "a NUL in an argument": program(arguments=["a\0b"]),
    "many arguments": program(arguments=["x"] * 17),
    "a long argument": program(arguments=["x" * 4097]),
    "many paths": program(reads=["/"] * 257),
    "less than no memory": program(memory_bytes=-1),
    "half a message": program()[:-1],
    "more than a message": program() + b"\xc0",
    "no MessagePack": b"\xc1",
    "deeply nested": b"\x91" * 60_000,
    "no UTF-8": program().replace(b"odd_child", b"odd_chil\xff"),
    "a list": msgspec.msgpack.encode([ODD, [], 0, []]),
    "too long": program(arguments=["x" * 4096] * 16) + b" " * 4096,
}


def request(
    ours: socket.socket, message: bytes, *, descriptors: int = 4, control: socket.socket | None = None
) -> socket.socket:
    """Sends a request with so many descriptors. The last one is the control socket; returns our end of it."""
    mine, theirs = socket.socketpair()
    mine.settimeout(LONG)
    with theirs, Path(os.devnull).open("rb") as nothing:
        last = theirs if control is None else control
        handed = [*[nothing.fileno()] * (descriptors - 1), last.fileno()][:descriptors]
        socket.send_fds(ours, [message], handed)
    return mine


def answered(control: socket.socket) -> list[int]:
    """The numbers that the spawner sends on it until it closes it."""
    said = b""
    with control, suppress(ConnectionResetError):
        while piece := control.recv(64):
            said += piece
    return [int.from_bytes(said[at : at + 4], sys.byteorder, signed=True) for at in range(0, len(said), 4)]


def until_idle(ours: socket.socket) -> None:
    """Wait until the spawner has closed what it got so far: it takes one event after the other, and closes
    the only descriptor of this request last."""
    assert answered(request(ours, program(), descriptors=1)) == []


def start_one(ours: socket.socket) -> tuple[socket.socket, int]:
    """A child that sleeps, by a request in due form: its control socket and its process id."""
    held, theirs = socket.socketpair()
    files, of_child = socket.socketpair()
    mine, control = socket.socketpair()
    mine.settimeout(LONG)
    with theirs, of_child, control:
        streams = [theirs.fileno(), theirs.fileno(), of_child.fileno(), control.fileno()]
        socket.send_fds(ours, [program(arguments=["hang up"])], streams)
    files.close()
    held.detach()  # it lives as long as this process: the child waits for a request
    return mine, int.from_bytes(mine.recv(4), sys.byteorder, signed=True)


@pytest.mark.parametrize("message", HOSTILE.values(), ids=HOSTILE)
def test_a_request_for_anything_else_is_refused(shared: tuple[socket.socket, int], message: bytes) -> None:
    ours, spawner = shared
    assert answered(request(ours, message)) in ([-errno.EPERM], [])
    assert psutil.Process(spawner).children() == []


@pytest.mark.parametrize("descriptors", [0, 1, 3, 5, 60])
def test_a_request_with_other_descriptors_is_refused(
    shared: tuple[socket.socket, int], descriptors: int
) -> None:
    ours, spawner = shared
    until_idle(ours)
    open_before = psutil.Process(spawner).num_fds()
    mine = request(ours, program(), descriptors=descriptors)
    if descriptors:
        assert answered(mine) == []
    mine.close()
    refused_last = request(ours, b"\xc1")  # the spawner takes one request after the other
    assert answered(refused_last) == [-errno.EPERM]
    assert psutil.Process(spawner).children() == []
    until_idle(ours)
    assert psutil.Process(spawner).num_fds() <= open_before


def test_a_control_socket_of_another_kind_is_refused(shared: tuple[socket.socket, int]) -> None:
    ours, spawner = shared
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as outside,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
        Path(os.devnull).open("rb") as no_socket,
    ):
        for each in (outside, datagrams, no_socket):
            request(ours, program(), control=each).close()  # pyright: ignore[reportArgumentType]
        assert answered(request(ours, b"\xc1")) == [-errno.EPERM]
    assert psutil.Process(spawner).children() == []


@pytest.mark.parametrize("asked", [b"\x00", b"\x0f", b"\x0b", b"\x13\xff", b"\x12" * 63 + b"\x01"])
def test_a_signal_that_no_client_sends_ends_the_child(
    shared: tuple[socket.socket, int], asked: bytes
) -> None:
    control, _ = start_one(shared[0])
    control.sendall(asked)
    assert answered(control) == [-signal.SIGKILL]


async def test_a_client_that_closes_the_control_socket_ends_the_child(
    shared: tuple[socket.socket, int],
) -> None:
    control, child = start_one(shared[0])
    assert psutil.pid_exists(child)
    control.close()
    await true_of(lambda: not psutil.pid_exists(child))


async def test_the_number_of_children_is_bounded() -> None:
    with spawner_of_tests(ODD, most=2) as (ours, _):
        alive = [start_one(ours) for _ in range(2)]
        assert all(pid > 0 for _, pid in alive)
        assert answered(request(ours, program())) == [-errno.EPERM]
        for control, pid in alive:
            control.close()
            await true_of(lambda pid=pid: not psutil.pid_exists(pid))
        control, pid = start_one(ours)
        assert pid > 0
        control.close()


async def test_a_refusal_reaches_the_caller(
    shared: tuple[socket.socket, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WorkerProcess, "spawner", SpawnerClient(shared[1], shared[0]))
    other = WorkerProcess(PRISONER)
    with pytest.raises(PermissionError, match="no child was started"):
        await ask(other, "echo")
    await other.close()
