"""The start of a tree with a process that the server can do without."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from lapel.foundation.workers.local_sockets import listening_socket
from lapel.hosting import children, tree
from lapel.hosting.children import HOPELESS, Child, ChildProcess, Role
from lapel.hosting.tree import StartFailed, Tree
from tests.support.serving import PATIENCE

READY = "import os, time; os.write(int(os.environ['FD']), b'ready'); os.close(int(os.environ['FD']));"
FOR_EVER = "time.sleep(1000)"


def python(code: str, environment: Mapping[str, str], descriptors: Sequence[int]) -> ChildProcess:
    """A process that runs this code."""
    return subprocess.Popen([sys.executable, "-S", "-c", code], env=environment, pass_fds=descriptors)


def a_tree(api: str, embedder: str) -> tuple[Tree, list[Child]]:
    """A tree of two processes that run this code."""
    codes: dict[Role, str] = {"api": api, "embedder": embedder}

    def spawn(role: Role, environment: Mapping[str, str], descriptors: Sequence[int]) -> ChildProcess:
        return python(codes[role], environment, descriptors)

    def child(role: Role, *, essential: bool) -> Child:
        return Child(role, role, lambda own: {"FD": own["LAPEL_READY_FD"]}, spawn=spawn, essential=essential)

    made = [child("api", essential=True), child("embedder", essential=False)]
    return Tree(None, made), made


def announced(made: Tree) -> int:
    """Runs the tree until it is announced, and stops it; gives how often it was announced."""
    told: list[int] = []

    def announce() -> None:
        told.append(1)
        os.kill(os.getpid(), signal.SIGTERM)

    with made.signals():
        try:
            made.run(announce)
        finally:
            made.stop()
    return len(told)


@pytest.mark.parametrize(
    "embedder",
    [f"import time; {FOR_EVER}", "raise SystemExit(1)", f"raise SystemExit({HOPELESS})", READY + FOR_EVER],
    ids=["late", "dead", "hopeless", "ready"],
)
def test_a_server_starts_whatever_a_process_does_that_it_can_do_without(
    monkeypatch: pytest.MonkeyPatch, embedder: str
) -> None:
    monkeypatch.setattr(tree, "LATE", 0.2)
    made, _ = a_tree(READY + FOR_EVER, embedder)
    assert announced(made) == 1


def test_only_a_hopeless_process_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for status, again in ((1, True), (HOPELESS, False)):
        _, (_, child) = a_tree("", f"raise SystemExit({status})")
        child.start()
        assert child.process is not None
        child.process.wait()
        assert child.reap() == status
        assert (child.restart_at is not None) is again


def test_a_process_that_is_needed_and_does_not_start_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "FIRST_DELAY", 0.01)
    made, _ = a_tree(f"raise SystemExit({HOPELESS})", f"import time; {FOR_EVER}")
    with pytest.raises(StartFailed, match="api does not start"):
        announced(made)


# Takes a connection, and ends as a process does that has nothing more to do.
TAKES_ONE = (
    "import os, socket; os.write(int(os.environ['FD']), b'ready'); "
    "listener = socket.socket(fileno=int(os.environ['LISTENER'])); listener.setblocking(True); "
    "listener.accept()[0].close()"
)


class Waiting:
    """A tree of one process. A connection to `path` starts it, and it runs `code`."""

    def __init__(self, path: Path, code: str) -> None:
        self.path = path
        self.starts = 0
        self._code = code
        self._listener = listening_socket(path)
        self.child = Child(
            "embedder",
            "embedder",
            lambda own: {"FD": own["LAPEL_READY_FD"], "LISTENER": own["LAPEL_LISTEN_FD"]},
            spawn=self._spawn,
            essential=False,
            demand_listener=self._listener,
        )

    def _spawn(self, _role: Role, environment: Mapping[str, str], descriptors: Sequence[int]) -> ChildProcess:
        self.starts += 1
        return python(self._code, environment, descriptors)

    def run_beside(self, play: Callable[[], None]) -> None:
        """Runs the tree until `play` has ended, in a thread."""
        faults: list[BaseException] = []

        def run() -> None:
            try:
                play()
            except BaseException as fault:  # noqa: BLE001 - raised below
                faults.append(fault)
            os.kill(os.getpid(), signal.SIGTERM)

        made, thread = Tree(None, [self.child]), threading.Thread(target=run)
        with self._listener, made.signals():
            try:
                made.run(thread.start)
            finally:
                made.stop()
                thread.join()
        for each in faults:
            raise each

    def ask(self) -> bytes:
        """Connects, and gives what it hears."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(self.path))
            return client.recv(1)


def test_a_process_demand_listener_starts_with_a_connection_each_time(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path / "socket", TAKES_ONE)

    def play() -> None:
        assert waiting.starts == 0
        for number in (1, 2, 3):
            assert waiting.ask() == b""
            assert waiting.starts == number

    waiting.run_beside(play)
    assert waiting.child.failures == 0, "to be idle is no failure"


def test_who_waits_for_a_process_demand_listener_that_dies_gets_the_next_one(tmp_path: Path) -> None:
    marker = str(tmp_path / "died")
    dies_first = f"import os; os.path.exists({marker!r}) or os.mkdir({marker!r}) or 1 / 0"
    waiting = Waiting(tmp_path / "socket", f"{dies_first}; {TAKES_ONE}")
    waiting.run_beside(lambda: None if waiting.ask() == b"" else pytest.fail("it said something"))
    assert (waiting.starts, waiting.child.failures) == (2, 1)


def test_who_asks_a_process_demand_listener_that_is_hopeless_is_refused(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path / "socket", f"raise SystemExit({HOPELESS})")

    def play() -> None:
        with pytest.raises(ConnectionResetError):
            waiting.ask()
        with pytest.raises(ConnectionRefusedError):
            waiting.ask()

    waiting.run_beside(play)
    assert waiting.child.given_up
    assert waiting.starts == 1
