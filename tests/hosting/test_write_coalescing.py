"""Nothing is lost, doubled or reordered when writes are joined, and a head does go out with its body."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel.hosting.connections.write_coalescing import BODY, HELD, TOGETHER, Flushes, JoinedTransport
from tests.support.patience import patience

_LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def _with_pair(loop: str, run: Callable[[socket.socket, socket.socket], Awaitable[bytes]]) -> bytes:
    """What `run` makes of two connected sockets, on one kind of loop."""

    async def main() -> bytes:
        return await run(ours, theirs)

    ours, theirs = socket.socketpair()
    with ours, theirs, asyncio.Runner(loop_factory=_LOOPS[loop]) as runner:
        ours.setblocking(False)
        theirs.setblocking(False)
        return runner.run(main())


class _Recorder(asyncio.Transport):
    """What reaches the transport below, call by call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.calls.append(bytes(data))

    def writelines(self, list_of_data: object) -> None:
        assert isinstance(list_of_data, tuple)
        assert all(list_of_data), "asyncio (3.12 and later) never gets rid of an empty piece"
        self.calls.append(b"".join(list_of_data))

    def close(self) -> None:
        self.calls.append(b"<close>")

    def write_eof(self) -> None:
        self.calls.append(b"<eof>")

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False


def _below(*steps: str | bytes | memoryview) -> list[bytes]:
    """What a transport sees of these writes; `turn` lets the loop go round, others are methods."""

    async def run() -> list[bytes]:
        below = _Recorder()
        joined = JoinedTransport(below, Flushes(asyncio.get_running_loop()))
        for step in steps:
            if not isinstance(step, str):
                joined.write(step)
            elif step == "turn":
                await asyncio.sleep(0)
            else:
                getattr(joined, step)()
        await asyncio.sleep(0)
        return below.calls

    return asyncio.run(run())


def test_a_head_goes_with_its_body() -> None:
    assert _below(b"head", b"body") == [b"headbody"]
    assert _below(b"head", b"") == [b"head"]
    assert _below(b"head", memoryview(b"b" * 100_000)) == [b"head" + b"b" * 100_000]


@pytest.mark.parametrize("loop", sorted(_LOOPS))
def test_an_empty_body_ends_with_its_head(loop: str) -> None:
    async def run(ours: socket.socket, theirs: socket.socket) -> bytes:
        running = asyncio.get_running_loop()
        transport, _ = await running.create_connection(asyncio.Protocol, sock=ours)
        joined = JoinedTransport(transport, Flushes(running))
        joined.write(b"head")
        joined.write(b"")
        await asyncio.sleep(0)
        assert joined.get_write_buffer_size() == 0
        joined.close()
        async with patience(60):
            return await running.sock_recv(theirs, 100) + await running.sock_recv(theirs, 100)

    assert _with_pair(loop, run) == b"head"


def test_a_lone_write_goes_when_the_turn_ends() -> None:
    assert _below(b"head", "turn", b"body", "turn") == [b"head", b"body"]


def test_a_long_first_write_goes_at_once() -> None:
    assert _below(b"x" * (HELD + 1), b"y") == [b"x" * (HELD + 1), b"y"]


def test_a_whole_answer_goes_when_the_turn_ends() -> None:
    async def run(body: bytes | bytearray | memoryview) -> tuple[int, int, int]:
        below = _Recorder()
        joined = JoinedTransport(below, Flushes(asyncio.get_running_loop()))
        joined.write(b"head")
        joined.write(body)
        before, unsent = len(below.calls), joined.get_write_buffer_size()
        await asyncio.sleep(0)
        return before, unsent, len(below.calls)

    body = b"b" * BODY
    assert asyncio.run(run(body)) == (0, 4 + BODY, 1)
    assert asyncio.run(run(memoryview(body))) == (0, 4 + BODY, 1)
    assert asyncio.run(run(b"b")) == (0, 5, 1)
    assert asyncio.run(run(body + b"b")) == (1, 0, 1)  # too long


def test_what_is_held_does_not_change_with_its_owners_memory() -> None:
    memory = bytearray(b"body")

    async def run() -> list[bytes]:
        below = _Recorder()
        joined = JoinedTransport(below, Flushes(asyncio.get_running_loop()))
        joined.write(b"head")
        joined.write(memory)
        memory[:] = b"gone"
        await asyncio.sleep(0)
        return below.calls

    assert asyncio.run(run()) == [b"headbody"]


def test_a_third_write_follows_a_whole_answer_that_is_held() -> None:
    body = b"b" * BODY
    assert _below(b"head", body, b"next", "turn") == [b"head" + body, b"next"]
    assert _below(b"head", body, b"next", body) == [b"head" + body, b"next" + body]
    assert _below(b"head", body, "close") == [b"head" + body, b"<close>"]


def test_all_transports_together_hold_only_so_much() -> None:
    async def run() -> None:
        flushes = Flushes(asyncio.get_running_loop())
        below = [_Recorder() for _ in range(2 * TOGETHER // BODY)]
        for transport in below:
            joined = JoinedTransport(transport, flushes)
            joined.write(b"head")
            joined.write(b"b" * BODY)
            assert sum(not each.calls for each in below[: below.index(transport) + 1]) * BODY <= TOGETHER
        await asyncio.sleep(0)
        assert [len(each.calls) for each in below] == [1] * len(below)

    asyncio.run(run())


def test_what_is_held_goes_before_the_end() -> None:
    assert _below(b"head", "close") == [b"head", b"<close>"]
    assert _below(b"head", "write_eof") == [b"head", b"<eof>"]


def test_what_is_held_counts_as_unsent() -> None:
    async def run() -> tuple[int, int]:
        joined = JoinedTransport(_Recorder(), Flushes(asyncio.get_running_loop()))
        joined.write(b"head")
        before = joined.get_write_buffer_size()
        await asyncio.sleep(0)
        return before, joined.get_write_buffer_size()

    assert asyncio.run(run()) == (4, 0)


def test_abort_sends_nothing_more() -> None:
    async def run(ours: socket.socket, theirs: socket.socket) -> bytes:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        joined = JoinedTransport(transport, Flushes(loop))
        joined.write(b"head")
        joined.abort()
        await asyncio.sleep(0)
        assert joined.is_closing()
        return await loop.sock_recv(theirs, 100)

    assert _with_pair("asyncio", run) == b""


@pytest.mark.parametrize("loop", sorted(_LOOPS))
def test_what_is_held_when_the_client_is_lost_is_dropped_without_a_word(loop: str) -> None:
    async def run(ours: socket.socket, _theirs: socket.socket) -> bytes:
        running = asyncio.get_running_loop()
        faults: list[object] = []
        running.set_exception_handler(lambda _, context: faults.append(context))
        transport, _ = await running.create_connection(asyncio.Protocol, sock=ours)
        joined = JoinedTransport(transport, Flushes(running))
        transport.abort()  # as after a reset: the protocol hears of it in the next turn
        joined.write(b"head")
        for _ in range(3):
            await asyncio.sleep(0)
        assert faults == []
        return b""

    _with_pair(loop, run)


@settings(deadline=None, max_examples=40)
@given(
    loop=st.sampled_from(sorted(_LOOPS)),
    steps=st.lists(st.tuples(st.integers(0, 70_000), st.booleans()), max_size=20),
    seed=st.binary(min_size=7, max_size=7),
)
def test_a_client_reads_what_was_written(loop: str, steps: list[tuple[int, bool]], seed: bytes) -> None:
    pieces = [(seed + bytes([number])) * (size // 8) for number, (size, _) in enumerate(steps)]

    async def run(ours: socket.socket, theirs: socket.socket) -> bytes:
        running = asyncio.get_running_loop()
        transport, _ = await running.create_connection(asyncio.Protocol, sock=ours)
        joined = JoinedTransport(transport, Flushes(running))

        async def read() -> bytes:
            got = bytearray()
            while piece := await running.sock_recv(theirs, 1 << 16):
                got += piece
            return bytes(got)

        reading = asyncio.create_task(read())
        for piece, (_, turn) in zip(pieces, steps, strict=True):
            joined.write(piece)
            if turn:
                await asyncio.sleep(0)
        joined.close()
        return await reading

    assert _with_pair(loop, run) == b"".join(pieces)


@pytest.mark.parametrize("loop", sorted(_LOOPS))
def test_a_connection_that_broke_takes_no_more_writes(loop: str) -> None:
    """asyncio would go on to watch its descriptor, which soon belongs to another connection."""

    async def run(ours: socket.socket, theirs: socket.socket) -> bytes:
        running = asyncio.get_running_loop()
        number = ours.fileno()
        transport, _ = await running.create_connection(asyncio.Protocol, sock=ours)
        joined = JoinedTransport(transport, Flushes(running))
        joined.write(b"head")
        transport.abort()  # as the event loop does it
        joined.write(memoryview(b"b" * 100_000))
        joined.write(b"tail")
        joined.write(memoryview(b"b" * 100_000))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not running.remove_writer(number)
        return await running.sock_recv(theirs, 100)

    assert _with_pair(loop, run) == b""


@pytest.mark.parametrize("loop", sorted(_LOOPS))
def test_after_the_end_of_its_data_a_connection_takes_no_more_writes(loop: str) -> None:
    async def run(ours: socket.socket, theirs: socket.socket) -> bytes:
        running = asyncio.get_running_loop()
        transport, _ = await running.create_connection(asyncio.Protocol, sock=ours)
        joined = JoinedTransport(transport, Flushes(running))
        joined.write(b"head")
        joined.write_eof()
        joined.write(b"tail")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        got = await running.sock_recv(theirs, 100)
        transport.abort()
        return got

    assert _with_pair(loop, run) == b"head"


async def test_a_connection_that_fails_holds_up_no_other() -> None:
    class Failing(_Recorder):
        def write(self, data: bytes | bytearray | memoryview) -> None:
            raise RuntimeError(f"cannot write {len(data)} bytes")

        def abort(self) -> None:
            self.calls.append(b"<abort>")

    flushes = Flushes(asyncio.get_running_loop())
    failing, other = Failing(), _Recorder()
    for each in (failing, other):
        JoinedTransport(each, flushes).write(b"answer")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert failing.calls == [b"<abort>"]
    assert other.calls == [b"answer"]
