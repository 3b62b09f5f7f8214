"""A worker that root starts gives up root's rights. Its spawner starts fenced children, and ends with it."""

from __future__ import annotations

import ast
import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path

import psutil
import pytest

import lapel
from lapel.cli.demo.demo_job import MainJob
from lapel.cli.demo.receiver import receiver
from lapel.hosting.spawner_fork import FENCED_CHILDREN
from lapel.slices.embeddings.model.model_files import installed_model
from tests.support.beginning import Beginning
from tests.support.installation import Installation
from tests.support.serving import Served, eventually, serving, told
from tests.support.warm import children_of
from tests.transcription.needs import needs_weights

AS_ROOT = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root has rights that a worker gives up"
)
OPENS_FILES = "0000000000000002"  # CAP_DAC_OVERRIDE alone, see capability.h of Linux
# The same, and to signal other accounts, change the account, drop capabilities and make namespaces.
STARTS_CHILDREN = f"{1 << 1 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 21:016x}"
NONE = "0" * 16


@pytest.fixture(scope="module")
def served(installation: Installation, module_folder: Path) -> Generator[Served]:
    installation.copy(module_folder / "data")
    with serving(module_folder / "data", env={"LAPEL_OUTBOUND_NETWORKS": "127.0.0.0/8"}) as server:
        yield server


def rights(pid: int) -> set[tuple[str, ...]]:
    """Of each thread: account, group, capabilities, those that it could gain, and NoNewPrivs."""
    found: set[tuple[str, ...]] = set()
    for file in Path(f"/proc/{pid}/task").glob("*/status"):
        lines = dict(line.split(":\t", 1) for line in file.read_text().splitlines())
        assert lines["CapPrm"] == lines["CapEff"]
        names = ("Uid", "Gid", "CapEff", "CapBnd", "NoNewPrivs")
        found.add(tuple(lines[each].split()[0] for each in names))
    return found


def spawner_of(worker: int) -> int:
    name = "lapel-spawner"
    (found,) = eventually(lambda: [each.pid for each in children_of(worker) if each.name() == name])
    return found


@AS_ROOT
def test_worker_and_api_keep_only_the_right_to_open_files(served: Served) -> None:
    kept = {("0", "0", OPENS_FILES, OPENS_FILES, "1")}
    worker = served.pid("worker")
    assert rights(served.pid("api")) == kept
    eventually(lambda: rights(worker) == kept)
    eventually(lambda: rights(spawner_of(worker)) == {("0", "0", STARTS_CHILDREN, STARTS_CHILDREN, "1")})


@AS_ROOT
def test_the_spawner_has_neither_the_workers_sockets_nor_the_lock_of_the_folder(served: Served) -> None:
    spawner = psutil.Process(spawner_of(served.pid("worker")))
    eventually(lambda: len(spawner.children()) == 0)
    opened = [str(each.readlink()) for each in Path(f"/proc/{spawner.pid}/fd").iterdir()]
    files = [each for each in opened if each.startswith("/") and not each.startswith(("/dev/", "/proc/"))]
    assert all(each.endswith(".log") for each in files), files  # the output of the server, in these tests
    assert spawner.net_connections("inet") == []
    # The socket for requests, and both ends of the one that wakes it.
    assert sum(each.startswith("socket:") for each in opened) == 3


@pytest.mark.deep
@AS_ROOT
@needs_weights
def test_speech_becomes_a_summary_by_fenced_children_of_the_spawner(served: Served) -> None:
    key = told("keys", "create", "--data-dir", served.data_dir)["key"]
    with receiver() as taker:
        outcome = MainJob(served.url, key, Beginning(), taker, lambda _: None).run("SPAWN001")
    assert outcome.spoken.failure is None
    assert outcome.understood is not None
    assert outcome.understood.summary.overview
    worker = served.pid("worker")
    children = children_of(spawner_of(worker))
    programs = {word for each in children for word in each.cmdline() if word in FENCED_CHILDREN}
    assert {"decoder_child", "engine_child"} <= {each.rpartition(".")[2] for each in programs}
    assert installed_model() is None or programs == FENCED_CHILDREN
    assert [each.pid for each in children_of(worker)] == [spawner_of(worker)]
    for child in children:
        # The models' process stays user 0 if user 65531 cannot enter the folder of Python.
        accounts = {"65531"} if child.cmdline()[3].endswith("decoder_child") else {"65531", "0"}
        for uid, gid, held, gainable, closed in rights(child.pid):
            assert uid == gid
            assert uid in accounts
            assert (held, gainable, closed) == (NONE, NONE, "1")


@AS_ROOT
def test_a_killed_worker_leaves_neither_spawner_nor_child(served: Served) -> None:
    worker = served.pid("worker")
    spawner = psutil.Process(spawner_of(worker))
    left = [spawner, *children_of(spawner.pid)]
    os.kill(worker, signal.SIGKILL)
    gone, alive = psutil.wait_procs(left, timeout=60)
    assert (len(gone), alive) == (len(left), [])
    again = eventually(lambda: [each for each in served.pids("worker") if each != worker])
    assert spawner_of(again[0]) not in {each.pid for each in left}


@AS_ROOT
def test_a_worker_whose_spawner_is_killed_ends_and_is_started_again(served: Served) -> None:
    worker = served.pid("worker")
    spawner = spawner_of(worker)
    os.kill(spawner, signal.SIGKILL)
    (again,) = eventually(lambda: [each for each in served.pids("worker") if each != worker])
    assert spawner_of(again) != spawner
    eventually(lambda: rights(again) == {("0", "0", OPENS_FILES, OPENS_FILES, "1")})


@AS_ROOT
def test_a_stopped_server_leaves_nothing(installation: Installation, quick_folder: Path) -> None:
    installation.copy(quick_folder / "data")
    with serving(quick_folder / "data") as server:
        spawner = psutil.Process(spawner_of(server.pid("worker")))
        everything = [psutil.Process(pid) for pid in server.all_pids()]
        assert spawner in everything
        assert server.stop() == 0
        assert psutil.wait_procs(everything, timeout=60)[1] == []


def test_the_spawner_knows_every_fenced_child_of_the_worker() -> None:
    """Children of `lapel serve` that keep the rights of the process that starts them are none of these."""
    found: set[str] = set()
    for file in Path(lapel.__file__).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or getattr(call.func, "id", None) != "WorkerProcess":
                continue
            reads = [each.value for each in call.keywords if each.arg == "reads"]
            if not any(isinstance(each, ast.Constant) and each.value is None for each in reads):
                assert isinstance(call.args[0], ast.Constant), f"{file}: the spawner cannot know this child"
                found.add(str(call.args[0].value))
    assert found == FENCED_CHILDREN
