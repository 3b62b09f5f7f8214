"""The embedded PostgreSQL: real servers that are started, killed, left behind, moved and refused."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from lapel.embedded.postgres import install
from lapel.embedded.postgres.install import PostgresError
from lapel.embedded.postgres.processes import escalate, stop_survivors
from lapel.embedded.postgres.supervisor import LOG_LIMIT, EmbeddedPostgres
from tests.support.patience import LONG, Deadline

ROOT = os.geteuid() == 0
LINUX = sys.platform == "linux"


def sockets_of(folder: Path) -> Path:
    return install.socket_folder(folder, install.account(lambda _: None))


@pytest.fixture(scope="module")
def pristine(module_folder: Path) -> Path:
    """A data folder after its first start and stop, to be copied."""
    folder = module_folder / "pristine"
    with EmbeddedPostgres(folder):
        pass
    return folder


@pytest.fixture
def folder(pristine: Path, quick_folder: Path) -> Iterator[Path]:
    copy = quick_folder / "data"
    shutil.copytree(pristine, copy)  # as root the copy is root's: a start must hand it over
    yield copy
    shutil.rmtree(sockets_of(copy), ignore_errors=True)  # some servers end without tidying up


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder)
    server.start()
    yield server
    server.stop()


def eventually(what: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = Deadline(seconds)
    while not what():
        assert not deadline.has_passed(), "did not happen in time"
        time.sleep(0.02)


def running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def fetch(server: EmbeddedPostgres, sql: str, user: str = "lapel") -> object:
    connection = await asyncpg.connect(server.dsn(user), timeout=LONG)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_a_first_start_makes_role_database_and_extension(server: EmbeddedPostgres) -> None:
    assert await fetch(server, "select current_user || '@' || current_database()") == "lapel@lapel"
    assert await fetch(server, "select '[1,2]'::vector <-> '[1,2]'") == 0
    assert await fetch(server, "select rolsuper from pg_roles where rolname = current_user") is False
    assert await fetch(server, "show data_checksums") == "on"
    assert await fetch(server, "show jit") == "off"
    assert (
        await fetch(server, "select rolsuper from pg_roles where rolname = current_user", "postgres") is True
    )


async def test_what_was_committed_is_there_after_a_restart(server: EmbeddedPostgres) -> None:
    await fetch(server, "create table kept as select 1 as x")
    server.stop()
    server.start()
    assert await fetch(server, "select x from kept") == 1


async def test_data_of_a_killed_server_is_there_after_the_next_start(server: EmbeddedPostgres) -> None:
    await fetch(server, "create table kept as select generate_series(1, 1000) as x")
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: server.poll() is not None)
    server.start()
    assert await fetch(server, "select count(*) from kept") == 1000


def test_nobody_else_gets_in(server: EmbeddedPostgres) -> None:
    assert stat.S_IMODE(server.sockets.stat().st_mode) == 0o700
    assert len(str(server.sockets)) < 80
    if not ROOT:
        return
    other = pwd.getpwnam("nobody").pw_uid
    query = [server.program("psql"), server.dsn(), "-c", "select 1"]
    done = subprocess.run(query, capture_output=True, text=True, user=other, cwd="/", check=False)
    assert done.returncode != 0
    assert "ermission denied" in done.stderr


@pytest.mark.skipif(not ROOT, reason="only root changes accounts")
def test_root_runs_it_as_an_account_of_its_own(server: EmbeddedPostgres) -> None:
    owner = pwd.getpwnam(install.ACCOUNT)
    assert server.data.stat().st_uid == owner.pw_uid
    assert Path(f"/proc/{server.pid}").stat().st_uid == owner.pw_uid
    groups = [
        line
        for line in Path(f"/proc/{server.pid}/status").read_text().splitlines()
        if line.startswith("Groups")
    ]
    assert groups[0].split()[1:] == []


@pytest.mark.skipif(not LINUX, reason="parent death signals are Linux's")
def test_it_ends_with_the_process_that_started_it(folder: Path) -> None:
    pid = start_elsewhere(folder, die_with_parent=True)
    eventually(lambda: not running(pid))


@pytest.mark.skipif(not LINUX, reason="survivors are found through /proc")
async def test_a_survivor_is_stopped_and_its_data_taken_over(folder: Path) -> None:
    pid = start_elsewhere(folder, die_with_parent=False)
    assert running(pid)
    said: list[str] = []
    server = EmbeddedPostgres(folder, say=said.append)
    server.start()
    try:
        assert not running(pid)
        assert said == ["A PostgreSQL that an earlier run left behind was stopped."]
        assert await fetch(server, "select 1") == 1
    finally:
        server.stop()


@pytest.mark.skipif(not LINUX, reason="survivors are found through /proc")
def test_a_frozen_survivor_is_stopped_too(folder: Path) -> None:
    pid = start_elsewhere(folder, die_with_parent=False)
    os.kill(pid, signal.SIGSTOP)
    assert pid in stop_survivors(folder / "postgres", grace=0.1)
    assert not running(pid)


def enterable(program: Path) -> bool:
    return program.is_file() and install.may_enter(program.parent)


def start_elsewhere(folder: Path, *, die_with_parent: bool) -> int:
    """Starts a server from another process, kills that process, and gives the server's pid."""
    script = (
        "import sys, time, pathlib\n"
        "from lapel.embedded.postgres import supervisor as e\n"
        "if sys.argv[2] == 'survive':\n"
        "    e.shim.__file__ = sys.argv[3]\n"
        "s = e.EmbeddedPostgres(pathlib.Path(sys.argv[1])); s.start()\n"
        "print(s.pid, flush=True); time.sleep(60)\n"
    )
    # A shim that does not ask for the death signal: what a kernel without it, or macOS, leaves behind.
    shim = Path(install.__file__).with_name("shim.py").read_text()
    deaf = folder.parent / "shim.py"
    deaf.write_text(shim.replace('sys.platform == "linux"', "False"))
    mode = "die" if die_with_parent else "survive"
    starter = subprocess.Popen(
        [sys.executable, "-c", script, str(folder), mode, str(deaf)], stdout=subprocess.PIPE, text=True
    )
    with starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        starter.kill()
    return pid


def test_a_stale_pid_of_a_living_stranger_does_not_block(folder: Path) -> None:
    (folder / "postgres" / "postmaster.pid").write_text(
        f"{os.getpid()}\n{folder}\n1\n5432\n/nowhere\n\n 1 1\nready\n"
    )
    with EmbeddedPostgres(folder) as server:
        assert server.poll() is None


@pytest.mark.parametrize("left", ["", "0\n", "\x00" * 8, "{stranger}\n/elsewhere\n1\n5432\n/nowhere\n\n"])
def test_what_a_server_killed_while_it_wrote_its_locks_left_does_not_block(folder: Path, left: str) -> None:
    """PostgreSQL itself refuses for ever to start beside an empty lock file."""
    content = left.format(stranger=os.getpid())
    sockets = sockets_of(folder)
    for lock in (folder / "postgres" / "postmaster.pid", sockets / ".s.PGSQL.5432.lock"):
        lock.write_text(content)
    with EmbeddedPostgres(folder) as server:
        assert server.poll() is None
        assert server.sockets == sockets


@pytest.mark.deep
def test_a_half_made_folder_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "postgres.new").mkdir(parents=True)
    (folder / "postgres.new" / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(folder):
        assert (folder / "postgres" / "PG_VERSION").read_text() == "18\n"
        assert not (folder / "postgres.new").exists()


def test_data_of_another_major_is_refused_with_the_way_out(folder: Path) -> None:
    (folder / "postgres" / "PG_VERSION").write_text("19\n")
    with pytest.raises(PostgresError, match=r"PostgreSQL 19.*lapel backup"):
        EmbeddedPostgres(folder).start()


def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    with pytest.raises(PostgresError, match=r"ended while starting.*shared_buffers"):
        EmbeddedPostgres(folder, extra={"shared_buffers": "none"}).start()


def test_only_the_main_thread_may_start_it(folder: Path) -> None:
    caught: list[BaseException] = []

    def start() -> None:
        try:
            EmbeddedPostgres(folder).start()
        except PostgresError as error:
            caught.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


@pytest.mark.skipif(not ROOT or sys.platform != "linux", reason="only root has these rights")
@pytest.mark.parametrize("lacking", [["CAP_CHOWN"], ["CAP_KILL", "CAP_SETUID"]])
def test_a_root_without_the_rights_to_run_it_says_what_to_do(tmp_path: Path, lacking: list[str]) -> None:
    numbers = {"CAP_CHOWN": 0, "CAP_KILL": 5, "CAP_SETUID": 7}  # capability.h
    kept = set(range(32)) - {numbers[each] for each in lacking}
    script = (
        "import sys; from pathlib import Path; from lapel.foundation.workers import kernel_calls\n"
        "from lapel.embedded.postgres.supervisor import EmbeddedPostgres\n"
        f"kernel_calls.drop_capabilities({kept})\n"
        "EmbeddedPostgres(Path(sys.argv[1])).start()\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = done.stderr.splitlines()[-1]
    assert f"this root lacks {', '.join(lacking)} to run it as another account. Run Lapel as an" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not ROOT, reason="only root needs a copy")
def test_programs_that_its_account_cannot_reach_are_copied(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    source = install.postgres_folder()
    package = hidden / source.name
    (hidden / f"{source.name}.libs").symlink_to(source.with_name(f"{source.name}.libs"))
    package.mkdir()
    shutil.copytree(source / "pginstall18", package / "pginstall18", symlinks=True)
    monkeypatch.setattr(install, "SHARED_FOLDERS", (Path("/proc/nothing"),))
    with pytest.raises(PostgresError, match="no folder to copy it to"):
        EmbeddedPostgres(folder, package=package).start()
    shared = Path("/tmp") / f"lapel-test-{os.getpid()}"
    monkeypatch.setattr(install, "SHARED_FOLDERS", (shared,))
    try:
        with EmbeddedPostgres(folder, package=package) as server:
            assert Path(f"/proc/{server.pid}/exe").resolve().is_relative_to(shared)
            assert server.program("postgres").stat().st_uid == 0
        shared.chmod(0o777)  # now anybody could have put programs there
        again = next(shared.iterdir())
        again.chmod(0o777)
        with pytest.raises(PostgresError, match="no folder to copy it to"):
            EmbeddedPostgres(folder, package=package).start()
    finally:
        shutil.rmtree(shared)


ORDINARY = """
import pathlib, subprocess, sys
from lapel.embedded.postgres.supervisor import EmbeddedPostgres
with EmbeddedPostgres(pathlib.Path(sys.argv[1])) as server:
    query = [server.program("psql"), "-XAt", server.dsn(), "-c", "select current_user"]
    subprocess.run(query, check=True)
"""


@pytest.mark.skipif(not ROOT, reason="only root can become an ordinary user")
def test_it_works_as_an_ordinary_user_too() -> None:
    """The whole life as `nobody`, in a folder of that user."""
    python = next((p for p in (sys.executable, "/usr/bin/python3") if enterable(Path(p).resolve())), None)
    code, package = Path(install.__file__).parents[3], install.postgres_folder()
    if python is None or not all(map(install.may_enter, (code, package))):
        pytest.skip("no Python, Lapel or PostgreSQL here that an ordinary user may run")
    user = pwd.getpwnam("nobody")
    base = Path("/tmp") / f"lapel-nobody-{os.getpid()}"
    base.mkdir(mode=0o700)
    os.chown(base, user.pw_uid, user.pw_gid)
    try:
        done = subprocess.run(
            [python, "-c", ORDINARY, base / "data"], env={"PYTHONPATH": f"{code}:{package.parent}"}, cwd="/",
            user=user.pw_uid, group=user.pw_gid, extra_groups=[], capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.stdout, done.returncode) == ("lapel\n", 0), done.stderr
    finally:
        shutil.rmtree(base)


async def test_the_log_is_shortened_while_the_server_writes_it(server: EmbeddedPostgres) -> None:
    old = server.log.with_suffix(".log.1")
    server.shorten_log()
    assert not old.exists()
    for filling in (b"first\n", b"second\n"):
        with server.log.open("ab") as log:
            log.write(filling * LOG_LIMIT)
        server.shorten_log()
        assert server.log.stat().st_size == 0
        assert old.stat().st_size == LOG_LIMIT
        assert old.read_bytes().endswith(filling)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (server.log, old)] == [0o600, 0o600]
    await fetch(server, "select pg_reload_conf()", "postgres")
    eventually(lambda: server.log.stat().st_size > 0)
    assert b"\0" not in server.log.read_bytes()
    assert "SIGHUP" in server.log.read_text()


@pytest.mark.deep
async def test_statistics_follow_a_burst_within_seconds(server: EmbeddedPostgres) -> None:
    await fetch(server, "create table many as select generate_series(1, 10000) as x")
    deadline = Deadline(20.0)
    while not await fetch(server, "select reltuples > 9000 from pg_class where relname = 'many'"):
        assert not deadline.has_passed(), "did not happen in time"
        await asyncio.sleep(0.5)


def test_a_stop_that_hangs_is_followed_by_harder_ones() -> None:
    sent: list[signal.Signals] = []
    assert escalate(sent.append, lambda _: len(sent) == 3, 0.0)
    assert sent == [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL]
    assert not escalate(sent.append, lambda _: False, 0.0)


def test_a_frozen_server_of_ours_stops_within_the_grace(server: EmbeddedPostgres) -> None:
    pid = server.pid
    os.kill(pid, signal.SIGSTOP)
    server.stop(grace=0.1)  # SIGINT and SIGQUIT stay pending on a frozen process; SIGKILL does not
    assert not running(pid)
    server.start()
