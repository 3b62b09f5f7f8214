"""Processes of `lapel serve` that are forks of the supervisor: they have what a new program would have."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lapel.hosting import forks
from lapel.hosting.children import ChildProcess, Role
from lapel.hosting.forks import Forks
from tests.hosting.forking import SECRET

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems start new programs")


WARNED = "a warning\n"  # what the supervisor itself writes


def forking(what: str) -> subprocess.CompletedProcess[str]:
    """A program that makes a fork which does this."""
    return subprocess.run(
        [sys.executable, "-m", "tests.hosting.forking", what],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        input="what the supervisor may read",
    )


def shell(command: str) -> subprocess.CompletedProcess[str]:
    """The same, with streams that the shell has changed. Python keeps what it could not write."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    line = f"{shlex.quote(sys.executable)} -m tests.hosting.forking {command}"
    return subprocess.run(
        line, shell=True, capture_output=True, text=True, check=False, timeout=60, env=environment
    )


def test_a_fork_has_nothing_of_the_supervisor_but_its_modules() -> None:
    told = forking("report").stdout.removeprefix("printed before ")
    found: dict[str, Any] = json.loads(told.splitlines()[0])
    status, again, passed = json.loads(told.splitlines()[1])
    assert (status, again) == (0, 0)
    assert found["role"] == "api"
    assert found["environment"] == {"LAPEL_READY_FD": str(passed), "TMPDIR": "/dev"}
    assert SECRET not in json.dumps(found)
    assert set(found["descriptors"]) == {"0", "1", "2", str(passed)}
    assert found["descriptors"]["0"] == "/dev/null"
    assert found["input"] == ""
    assert found["handled"] == [signal.SIGINT]  # Python's own: KeyboardInterrupt
    assert signal.SIGHUP in found["ignored"]
    assert found["blocked"] == []
    assert found["leads_its_group"]
    assert found["temporary"] == "/dev"
    assert found["modules"] > 1000, "it has imported the role"
    assert str(Path.cwd()) not in found["path"]


def test_what_the_supervisor_has_printed_is_printed_once() -> None:
    assert forking("report").stdout.count("printed before") == 1


def test_a_fault_is_told_with_its_traceback() -> None:
    ended = forking("fail")
    assert json.loads(ended.stdout.splitlines()[-1].removeprefix("printed before "))[0] == 1
    assert ended.stderr.startswith(f"{WARNED}Traceback")
    assert ended.stderr.endswith("ValueError: no way\n")


@pytest.mark.parametrize(
    ("what", "status", "said"), [("leave", 1, "the store has no access key\n"), ("leave_with_code", 78, "")]
)
def test_it_ends_with_its_own_status(what: str, status: int, said: str) -> None:
    ended = forking(what)
    assert json.loads(ended.stdout.splitlines()[-1].removeprefix("printed before "))[:2] == [status, status]
    assert ended.stderr == WARNED + said


def test_a_signal_that_comes_at_once_is_its_own() -> None:
    """The supervisor's handler only counts signals: in the fork it would swallow one."""
    ended = forking("hang")
    assert json.loads(ended.stdout.splitlines()[-1].removeprefix("printed before "))[0] == -signal.SIGTERM


def test_it_starts_although_its_log_cannot_be_written() -> None:
    assert json.loads(shell("report 2>/dev/full").stdout.splitlines()[-1])[0] == 0


def test_it_starts_without_standard_output() -> None:
    assert shell("leave >&-").stderr == f"{WARNED}the store has no access key\n"


class Started:
    """In place of a process."""

    pid = 0

    def poll(self) -> int | None:
        return None

    def wait(self) -> int:
        return 0

    def send_signal(self, number: int) -> None:
        pass


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Role]]:
    """How each process was started."""
    seen: list[tuple[str, Role]] = []

    def of(kind: str) -> Any:
        def start(role: Role, environment: Mapping[str, str], descriptors: Sequence[int]) -> ChildProcess:
            assert (environment, descriptors) == ({"A": "b"}, [7])
            seen.append((kind, role))
            return Started()

        return start

    monkeypatch.setattr(forks, "start_program", of("program"))
    monkeypatch.setattr(forks, "ForkedProcess", of("fork"))
    return seen


def test_models_and_roles_of_other_machines_are_programs(started: list[tuple[str, Role]]) -> None:
    """A process that reads hostile texts must not have the supervisor's memory, which has secrets."""
    roles: tuple[Role, ...] = ("api", "worker", "store", "embedder", "language-model")
    made = Forks(frozenset({"api", "worker", "embedder", "language-model"}))
    for role in roles:
        made.spawn(role, {"A": "b"}, [7])
    assert {role for kind, role in started if kind == "program"} >= {"store", "embedder", "language-model"}


def test_beside_another_thread_a_process_is_a_program(started: list[tuple[str, Role]]) -> None:
    """The thread may hold a lock, for which a fork would wait for ever."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        Forks(frozenset({"api"})).spawn("api", {"A": "b"}, [7])
    finally:
        done.set()
        thread.join()
    assert started == [("program", "api")]


def test_a_start_that_fails_at_once_says_nothing_of_the_imports_that_it_began() -> None:
    program = "from lapel.hosting.forks import Forks; Forks(frozenset({'api'}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
