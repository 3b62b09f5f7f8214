"""A child process that answers requests, and all the ways in which it may not."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import uvloop

from lapel.foundation.workers.worker_child import Refusal
from lapel.foundation.workers.worker_process import SubworkerDied, SubworkerTimeout, WorkerProcess
from tests.foundation.workers.odd_child import Ask, AskOfFiles, Told

MODULE = "tests.foundation.workers.odd_child"
MIB = 1024 * 1024
# Long enough for any machine; no test waits for it.
LONG = 60.0


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the tests run, the child finds its module."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))


@pytest.fixture(scope="module")
async def shared() -> AsyncGenerator[WorkerProcess]:
    """A child that is not brought down by the tests that use it."""
    worker = WorkerProcess(MODULE)
    yield worker
    await worker.close()


@pytest.fixture
async def worker() -> AsyncGenerator[WorkerProcess]:
    worker = WorkerProcess(MODULE)
    yield worker
    await worker.close()


async def ask(worker: WorkerProcess, do: str, number: int = 0, text: str = "", **how: float) -> Told:
    seconds = how.get("seconds", LONG)
    return await worker.call(Ask(do=do, number=number, text=text), Told, seconds=seconds)


async def gone(pid: int) -> None:
    """Waits until there is no such process, not even one that nobody asked after."""
    await true_of(lambda: not psutil.pid_exists(pid))


async def true_of(found: Callable[[], bool]) -> None:
    while not found():  # noqa: ASYNC110 - of another process, nobody sets an event
        await asyncio.sleep(0.01)


async def test_one_child_answers_all(shared: WorkerProcess) -> None:
    told = await ask(shared, "echo", text="straße")
    assert told == Told(text="straße", pid=told.pid)
    assert shared.pid == told.pid != os.getpid()
    assert (await ask(shared, "echo")).pid == told.pid


async def test_nothing_runs_before_it_is_needed() -> None:
    worker = WorkerProcess(MODULE)
    assert worker.pid is None
    await worker.close()


async def test_calls_take_turns(shared: WorkerProcess) -> None:
    told = await asyncio.gather(*(ask(shared, "echo", text=str(n)) for n in range(20)))
    assert [each.text for each in told] == [str(n) for n in range(20)]
    assert len({each.pid for each in told}) == 1


async def test_progress_is_reported(shared: WorkerProcess) -> None:
    heard: list[float] = []
    await shared.call(Ask(do="progress", number=1000), Told, seconds=LONG, report=heard.append)
    assert heard == [step / 1000 for step in range(1000)]
    await ask(shared, "progress", 10)  # to nobody


async def test_a_refusal_leaves_the_child_alone(shared: WorkerProcess) -> None:
    pid = (await ask(shared, "echo")).pid
    with pytest.raises(Refusal, match="too blue") as refused:
        await ask(shared, "refuse", text="too blue")
    assert refused.value.code == "no_good"
    assert (await ask(shared, "echo")).pid == pid


async def test_what_is_printed_gets_not_between_the_answers(shared: WorkerProcess) -> None:
    for _ in range(3):
        assert (await ask(shared, "print", text="progress: 50 %")).text == "progress: 50 %"


async def test_a_flood_on_stderr_neither_blocks_nor_is_kept(shared: WorkerProcess) -> None:
    await ask(shared, "echo")
    before = psutil.Process().memory_info().rss
    await ask(shared, "flood", 64 * MIB)
    assert psutil.Process().memory_info().rss - before < 16 * MIB


async def test_large_questions_and_answers(shared: WorkerProcess) -> None:
    assert len((await ask(shared, "large", 30 * MIB)).text) == 30 * MIB
    assert len((await ask(shared, "echo", text="x" * 30 * MIB)).text) == 30 * MIB


async def test_an_answer_beyond_all_bounds_is_not_read(worker: WorkerProcess) -> None:
    with pytest.raises(SubworkerDied, match="are too many"):
        await ask(worker, "large", 65 * MIB)
    assert worker.pid is None
    assert (await ask(worker, "echo", text="again")).text == "again"


async def test_text_that_comes_before_the_answer(shared: WorkerProcess) -> None:
    pieces: list[str] = []
    progress: list[float] = []
    answer = await shared.call(
        Ask(do="pieces", text="one two"),
        Told,
        seconds=LONG,
        report=progress.append,
        pieces=pieces.append,
    )
    assert (answer.text, pieces, progress) == ("one two", ["one", "two"], [0.5, 0.5])


async def test_an_interruption_ends_a_child_that_has_no_handler_for_it(worker: WorkerProcess) -> None:
    worker.interrupt()  # there is no child yet
    running = asyncio.create_task(ask(worker, "sleep", 600))
    await true_of(lambda: worker.pid is not None)
    worker.interrupt()
    with pytest.raises(SubworkerDied, match="SIGUSR1"):
        await running


@pytest.mark.parametrize("how", ["not MessagePack", "another struct", "4 GiB", "odd progress", "odd refusal"])
async def test_a_child_that_answers_nonsense_is_ended(how: str) -> None:
    worker = WorkerProcess(MODULE, how)
    with pytest.raises(SubworkerDied, match="nonsense"):
        await ask(worker, "echo")
    assert worker.pid is None


@pytest.mark.parametrize("how", ["half a frame", "nothing"])
async def test_an_answer_that_breaks_off(how: str) -> None:
    worker = WorkerProcess(MODULE, how)
    with pytest.raises(SubworkerDied, match="exit 0"):
        await ask(worker, "echo")
    assert worker.pid is None


async def test_a_child_that_takes_no_files_is_ended_and_the_event_loop_goes_on() -> None:
    worker = WorkerProcess(MODULE, "another struct")  # which never looks at what it is handed
    with pytest.raises(SubworkerDied):
        await worker.call(AskOfFiles(do="echo", number=5_000), Told, seconds=LONG)
    assert worker.pid is None
    await worker.close()


async def test_a_child_that_hangs_up_but_lives_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lapel.foundation.workers.worker_process._LAST_SECONDS", 0.05)
    worker = WorkerProcess(MODULE, "hang up")
    call = asyncio.create_task(ask(worker, "echo"))
    await true_of(lambda: worker.pid is not None)
    pid = worker.pid
    assert pid is not None
    with pytest.raises(SubworkerDied, match="hung up"):
        await call
    await gone(pid)


@pytest.mark.parametrize(
    ("do", "number", "how"),
    [
        ("kill", signal.SIGKILL, "SIGKILL"),
        ("kill", signal.SIGSEGV, "SIGSEGV"),
        ("exit", 7, "exit 7"),
        ("fail", 0, "exit 1"),
    ],
)
async def test_after_a_death_the_next_call_finds_another_child(
    worker: WorkerProcess, do: str, number: int, how: str
) -> None:
    with pytest.raises(SubworkerDied, match=f"^{how}$"):
        await ask(worker, do, number)
    assert worker.pid is None
    assert (await ask(worker, "echo", text="again")).text == "again"


async def test_a_child_killed_while_nobody_asks_is_replaced(worker: WorkerProcess) -> None:
    pid = (await ask(worker, "echo")).pid
    os.kill(pid, signal.SIGKILL)
    await true_of(lambda: worker.pid is None)
    assert (await ask(worker, "echo")).pid != pid


async def test_too_slow_work_ends_the_child(worker: WorkerProcess) -> None:
    pid = (await ask(worker, "echo")).pid
    with pytest.raises(SubworkerTimeout, match=r"not done after 0\.05 s"):
        await ask(worker, "sleep", 600, seconds=0.05)
    await gone(pid)
    assert (await ask(worker, "echo")).pid != pid


async def test_a_call_that_is_cancelled_ends_the_child_and_lets_the_next_one_go_on(
    worker: WorkerProcess,
) -> None:
    pid = (await ask(worker, "echo")).pid
    call = asyncio.create_task(ask(worker, "sleep", 600))
    next_one = asyncio.create_task(ask(worker, "echo", text="next"))
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await gone(pid)
    assert (await next_one).text == "next"


async def test_a_call_that_is_cancelled_at_any_moment_leaves_nothing_running(worker: WorkerProcess) -> None:
    before = len(psutil.Process().children())
    for turns in range(12):
        call = asyncio.create_task(ask(worker, "sleep", 600))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert worker.pid is None
    assert len(psutil.Process().children()) == before


async def test_a_call_that_is_cancelled_in_mid_answer_leaves_nothing_open(worker: WorkerProcess) -> None:
    for step in range(4):
        await ask(worker, "echo")
        opened = psutil.Process().num_fds()
        call = asyncio.create_task(ask(worker, "large", 60 * MIB))
        await asyncio.sleep(0.03 * step)
        call.cancel()
        with suppress(asyncio.CancelledError):  # or it is done
            await call
        await worker.close()
        await true_of(lambda opened=opened: psutil.Process().num_fds() < opened)


async def test_a_waiting_call_that_is_cancelled_disturbs_nobody(worker: WorkerProcess) -> None:
    pid = (await ask(worker, "echo")).pid
    running = asyncio.create_task(ask(worker, "progress", 10_000))
    waiting = asyncio.create_task(ask(worker, "echo"))
    await asyncio.sleep(0)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    assert (await running).pid == pid


async def test_a_report_that_fails_ends_the_child(worker: WorkerProcess) -> None:
    def report(_: float) -> None:
        raise KeyError("somewhere else")

    with pytest.raises(KeyError):
        await worker.call(Ask(do="progress", number=10), Told, seconds=LONG, report=report)
    assert worker.pid is None


@pytest.mark.skipif(sys.platform != "linux", reason="address space is bounded on Linux only")
async def test_memory_is_bounded() -> None:
    worker = WorkerProcess(MODULE, memory_bytes=512 * MIB)
    assert (await ask(worker, "hog", 100 * MIB)).text == str(100 * MIB)
    with pytest.raises(SubworkerDied, match="exit 1"):
        await ask(worker, "hog", 600 * MIB)
    await worker.close()


async def test_an_idle_child_is_ended_and_the_next_call_starts_another() -> None:
    worker = WorkerProcess(MODULE, idle_seconds=0.05)
    pid = (await ask(worker, "echo")).pid
    await true_of(lambda: worker.pid is None)
    await gone(pid)
    assert (await ask(worker, "echo")).pid != pid
    await worker.close()


async def test_a_call_just_when_the_idle_child_is_ended_is_answered() -> None:
    worker = WorkerProcess(MODULE, idle_seconds=0)
    for turns in range(6):
        await ask(worker, "echo")
        for _ in range(turns):  # meanwhile its end begins
            await asyncio.sleep(0)
    await worker.close()
    assert worker.pid is None


async def test_closing_in_mid_work(worker: WorkerProcess) -> None:
    pid = (await ask(worker, "echo")).pid
    call = asyncio.create_task(ask(worker, "sleep", 600))
    await asyncio.sleep(0.01)
    await worker.close()
    with pytest.raises(SubworkerDied, match="it was ended"):
        await call
    await gone(pid)


async def test_our_settings_are_no_business_of_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAPEL_SECRET", "a secret")
    worker = WorkerProcess(MODULE)
    assert (await ask(worker, "environment", text="LAPEL_SECRET")).text == ""
    assert (await ask(worker, "environment", text="PATH")).text == os.environ["PATH"]
    await worker.close()


async def test_the_child_ends_with_its_parent() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import uvloop\n"
        "from lapel.foundation.workers.worker_process import WorkerProcess\n"
        "from tests.foundation.workers.odd_child import Ask, AskOfFiles, Told\n"
        "async def main():\n"
        "    worker = WorkerProcess('tests.foundation.workers.odd_child')\n"
        "    print((await worker.call(Ask(do='echo'), Told, seconds=600)).pid, flush=True)\n"
        "    await worker.call(Ask(do='sleep', number=600), Told, seconds=600)\n"
        "uvloop.run(main())\n",
        stdout=asyncio.subprocess.PIPE,
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    assert psutil.pid_exists(pid)
    parent.kill()
    await parent.wait()
    await gone(pid)


async def test_the_event_loop_goes_on_meanwhile(shared: WorkerProcess) -> None:
    beats = 0
    call = asyncio.create_task(ask(shared, "sleep", 0, text="x" * 10 * MIB))
    started = time.monotonic()
    while not call.done():
        beats += 1
        await asyncio.sleep(0)
        assert time.monotonic() - started < LONG
    assert beats > 1


async def test_under_uvloop_a_child_that_is_killed_cancelled_or_late_leaves_nothing() -> None:
    """Workers run on uvloop. A child started by uvloop's own means may hang before its program begins."""
    process, worker = psutil.Process(), WorkerProcess(MODULE)

    async def all_ends() -> None:
        assert len((await ask(worker, "large", 8 * MIB)).text) == 8 * MIB
        with pytest.raises(SubworkerDied, match=r"^SIGKILL$"):
            await ask(worker, "kill", signal.SIGKILL)
        with pytest.raises(SubworkerTimeout):
            await ask(worker, "sleep", 600, seconds=0.05)
        for turns in range(8):
            call = asyncio.create_task(ask(worker, "sleep", 600))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        assert (await ask(worker, "echo", text="again")).text == "again"
        await worker.close()

    async def twice() -> None:
        await all_ends()
        opened, children = process.num_fds(), len(process.children())
        await all_ends()
        await true_of(lambda: process.num_fds() <= opened and len(process.children()) <= children)

    await asyncio.to_thread(uvloop.run, twice())
