"""The embedded PostgreSQL: Lapel makes, starts, watches and stops it.

The programs come from a Python package (a wheel).

`EmbeddedPostgres(folder)` keeps its data in `folder`/postgres. Everything here is synchronous. Supervisor and
commands call it from their main thread, which must live as long as the server, because the kernel ends the
server when the thread that started it ends. The caller must hold the folder's lock.

Sources: PostgreSQL's documentation, sections "Peer Authentication" and "Shutting Down the Server";
PR_SET_PDEATHSIG in prctl(2) of the Linux man-pages.

docs/decisions/0013 gives the reasons.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from lapel.embedded.postgres import install, shim
from lapel.embedded.postgres.install import MAJOR, PostgresError, Say, SystemAccount
from lapel.embedded.postgres.processes import escalate, is_ready, stop_survivors

OWNER = "lapel"  # the role that owns the database `lapel`
SUPERUSER = "postgres"
LOG_LIMIT = 4 << 20  # bytes
_KEPT_MEMORY = 1 << 20  # bytes, of each connection's free memory
_SHOWN = 800  # the most characters that a message repeats of the output of a program

_INITDB = (
    "-U", SUPERUSER, "-A", "peer", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8",
    "--no-instructions", "--no-sync",
)  # fmt: skip
_CONFIGURATION = {
    "listen_addresses": "",  # no TCP at all, only the socket in its folder
    "unix_socket_permissions": "0700",
    # The most. Memory is taken as pages are read, so a small database takes little. With 64 MB, the
    # statement that searches 60,000 chunks took twice as long, because it read from files.
    "shared_buffers": "512MB",
    "max_connections": "60",
    # PostgreSQL writes to the memory of these four when it starts. The defaults take 16 MB more. Commits
    # write the log every few milliseconds, no transaction is serializable, the script of the schema takes
    # 1,052 locks of about 3,000, and no statement reads more than 16 pages ahead (effective_io_concurrency).
    "wal_buffers": "2MB",
    "max_pred_locks_per_transaction": "10",
    "max_locks_per_transaction": "32",
    "io_max_concurrency": "16",
    "max_logical_replication_workers": "0",  # nobody subscribes: this saves a process
    # After a checkpoint, the first change of each page writes the whole page to the log. With 512 MB, each
    # heartbeat of 400,000 devices took PostgreSQL 64 us of CPU time, and now 47 (one run each).
    "max_wal_size": "1GB",
    # Statistics follow the first burst of a new server. After a minute, the default, the outcomes of 500
    # deliveries had taken up to ten seconds to write, with plans for empty tables.
    "autovacuum_naptime": "5s",
    "huge_pages": "off",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    # The server logs its own events, but no errors of statements, because the text and the parameters of a
    # statement contain people's data; the API reports such errors itself.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
}
# One statement a line, for `postgres --single`. The extension `vector` is not trusted, so only the
# superuser can make the extension.
_ROLES = f"CREATE ROLE {OWNER} LOGIN;\n"
_DATABASE = f"CREATE DATABASE {OWNER} OWNER {OWNER};\nREVOKE ALL ON DATABASE {OWNER} FROM PUBLIC;\n"
_EXTENSIONS = "CREATE EXTENSION vector;\n"


class EmbeddedPostgres:
    """One server over the data in `folder`/postgres; the first start makes this data.

    `say` gets sentences for people; `package` is the folder of the installed Python package that has
    PostgreSQL's programs; `extra` are server settings that override ours.
    """

    def __init__(
        self,
        folder: Path,
        *,
        say: Say = lambda _: None,
        package: Path | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.data = self.folder / "postgres"
        self.log = self.folder / "postgres.log"
        self._say = say
        self._package = package
        self._extra = dict(extra or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets: Path | None = None
        self._programs: Path | None = None

    def start(self, *, patience: float = 120.0, interrupted: Callable[[], bool] = lambda: False) -> None:
        """Starts the server and returns when it accepts connections, after `patience` seconds at most.

        Makes the data folder when there is none, and stops a server that a killed process left there.
        Stops the server and gives up as soon as `interrupted()` is true. Raises PostgresError when the server
        cannot be started, ends, is interrupted or is not ready in time.
        """
        if threading.current_thread() is not threading.main_thread():
            raise PostgresError(
                "Start PostgreSQL from the main thread: it ends with the thread that starts it."
            )
        if self._process is not None and self._process.poll() is None:
            return
        check_major(self.data)
        install.check_rights()
        who = install.account(self._say)
        self._programs = install.programs(who, self._package or install.postgres_folder())
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_over()
        if not self.data.exists():
            self._make(who)
        self._give(self.data, who)
        self._sockets = install.socket_folder(self.folder, who)
        # No server works here any more. Like a stale pid file, a stale lock file can block every start.
        (self._sockets / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
        self._write_access(self.data, who)
        self._process = self._spawn(who, self.data, self._server_arguments(who, self._sockets))
        self._await_ready(patience, interrupted)

    def stop(self, *, grace: float = 5.0) -> None:
        """Stops the server (fast, then immediate, then SIGKILL) and reaps it. `grace`: seconds for the fast
        stop.

        Raises PostgresError when the server does not end, and RuntimeError when a process that the server
        left behind does not end.
        """
        process, self._process = self._process, None
        if process is None:
            return

        def gone(patience: float) -> bool:
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                return False
            return True

        if process.poll() is None and not escalate(process.send_signal, gone, grace):
            raise PostgresError(f"PostgreSQL (process {process.pid}) does not end.")
        stop_survivors(self.data, grace)
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def shorten_log(self) -> None:
        """Empties a log above LOG_LIMIT and keeps its end in postgres.log.1; call it from time to time."""
        _shorten(self.log)

    def poll(self) -> int | None:
        """The exit status of the server when it has ended (and is reaped), else None."""
        return None if self._process is None else self._process.poll()

    @property
    def pid(self) -> int:
        """Process id of the running server. Raises PostgresError when there is none."""
        if self._process is None:
            raise PostgresError("PostgreSQL is not running.")
        return self._process.pid

    @property
    def sockets(self) -> Path:
        """Folder with the server's socket. Raises PostgresError when it is not running."""
        if self._sockets is None:
            raise PostgresError("PostgreSQL is not running.")
        return self._sockets

    def dsn(self, user: str = OWNER, database: str = OWNER) -> str:
        """Connection URL over the socket; the account of the client process decides which roles it may use.

        Raises PostgresError when the server is not running.
        """
        return dsn(self.sockets, user, database)

    def program(self, name: str) -> Path:
        """Path of `pg_dump`, `pg_restore`, `psql`… of the same version as the server.

        Raises PostgresError when the programs, or an account that may run them, are missing.
        """
        if self._programs is None:
            who = install.account(self._say)
            self._programs = install.programs(who, self._package or install.postgres_folder())
        return self._programs / name

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _take_over(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            found = stop_survivors(self.data, 5.0)
            if found:
                self._say("A PostgreSQL that an earlier run left behind was stopped.")
        shutil.rmtree(self.folder / "postgres.new", ignore_errors=True)

    def _make(self, who: SystemAccount) -> None:
        """Run initdb; make roles, database and extension; give the folder its final name at the end."""
        building = self.folder / "postgres.new"
        building.mkdir(mode=0o700)
        self._give(building, who)
        seen = self._as_seen(building, who)
        self._run(who, building, "initdb", ["-D", seen, *_INITDB])
        for database, statements in ((SUPERUSER, _ROLES + _DATABASE), (OWNER, _EXTENSIONS)):
            arguments = ["--single", "-D", seen, "-c", "exit_on_error=on", "-c", "fsync=off", database]
            self._run(who, building, "postgres", arguments, statements)
        # One sync here replaces a sync after each of the steps above.
        method = ["--sync-method=syncfs"] if sys.platform == "linux" else []
        self._run(who, building, "initdb", ["--sync-only", *method, "-D", seen])
        building.rename(self.data)
        _sync_folder(self.folder)

    def _run(self, who: SystemAccount, cwd: Path, program: str, arguments: list[str], text: str = "") -> None:
        done = subprocess.run(
            self._shimmed(who, cwd, [str(self.program(program)), *arguments]),
            input=text, env=_environment(), capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise PostgresError(f"{program} failed ({done.returncode}): {_end(done.stderr)}")

    def _spawn(self, who: SystemAccount, cwd: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
        _shorten(self.log)
        with self.log.open("ab") as log:
            os.fchmod(log.fileno(), 0o600)
            return subprocess.Popen(
                self._shimmed(who, cwd, [str(self.program("postgres")), *arguments]),
                env=_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def _shimmed(self, who: SystemAccount, cwd: Path, argv: list[str]) -> list[str]:
        program = str(Path(shim.__file__).resolve())
        return [
            sys.executable,
            "-I",
            "-S",
            program,
            str(who.uid),
            str(who.gid),
            str(os.getpid()),
            str(cwd),
            *argv,
        ]

    def _as_seen(self, data: Path, who: SystemAccount) -> str:
        """The path of the data folder for the server. If the account cannot pass the folder's parents, it can
        use only its working folder, which the shim entered as root; /proc/self/cwd names that."""
        hidden = os.geteuid() == 0 and who.uid != 0 and not install.may_enter(data.parent)
        if hidden and sys.platform != "linux":
            raise PostgresError(f"{who.name} cannot enter {data.parent}; choose another data folder.")
        return "/proc/self/cwd" if hidden else str(data)

    def _server_arguments(self, who: SystemAccount, sockets: Path) -> list[str]:
        settings = {**_CONFIGURATION, **self._extra, "unix_socket_directories": str(sockets)}
        flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return ["-D", self._as_seen(self.data, who), *flags]

    def _give(self, data: Path, who: SystemAccount) -> None:
        """Gives all of `data` to the account, because the data may come from a copy or another account."""
        if os.geteuid() != 0 or data.stat().st_uid == who.uid:
            return
        for root, _, files in os.walk(data):
            for path in (root, *(os.path.join(root, name) for name in files)):  # noqa: PTH118
                os.chown(path, who.uid, who.gid, follow_symlinks=False)
        os.chown(data, who.uid, who.gid)

    def _write_access(self, data: Path, who: SystemAccount) -> None:
        """Lets only the server's account, and root if we are root, use our roles (peer authentication)."""
        names = {"root", who.name} if os.geteuid() == 0 else {who.name}
        lines = [f'own "{name}" {role}' for name in sorted(names) for role in (SUPERUSER, OWNER)]
        for file, content in (
            ("pg_hba.conf", "local all all peer map=own\n"),
            ("pg_ident.conf", "\n".join(lines) + "\n"),
        ):
            _ = (data / file).write_text(content)

    def _await_ready(self, patience: float, interrupted: Callable[[], bool]) -> None:
        deadline = time.monotonic() + patience
        while not is_ready(self.data, self.pid):
            status = self.poll()
            if status is not None:
                self._process = None
                raise PostgresError(f"PostgreSQL ended while starting ({status}): {_tail(self.log)}")
            if interrupted():
                self.stop(grace=1.0)
                raise PostgresError("PostgreSQL was stopped while it started.")
            if time.monotonic() > deadline:
                self.stop()
                raise PostgresError(f"PostgreSQL was not ready within {patience:.0f} s: {_tail(self.log)}")
            time.sleep(0.01)


def dsn(sockets: Path, user: str = OWNER, database: str = OWNER) -> str:
    """URL of `database` behind the socket in `sockets`."""
    return f"postgresql://{quote(user)}@/{quote(database)}?host={quote(str(sockets))}"


def check_major(data: Path) -> None:
    """Raises PostgresError when `data` holds data of another major version, or cannot be read."""
    try:
        found = (data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return
    except PermissionError:
        raise PostgresError(f"{data} belongs to another user; run Lapel as the user that made it.") from None
    if found != str(MAJOR):
        raise PostgresError(
            f"{data} holds data of PostgreSQL {found}, and this Lapel runs PostgreSQL {MAJOR}. Run "
            f"`lapel backup DIR` with the Lapel that made it, then `lapel restore DIR` with this one "
            f"into an empty folder."
        )


def _environment() -> dict[str, str]:
    """The server gets no secret of ours and no broken locale."""
    # Of what a statement took, glibc would keep up to several MiB for the next one, in each connection. Most
    # statements take less than this, and so ask the kernel for nothing. If the second of these had glibc's
    # default of 128 KiB, the planner's blocks would come from the kernel and go back each time.
    kept = str(_KEPT_MEMORY)
    return {"PATH": "/usr/bin:/bin", "MALLOC_TRIM_THRESHOLD_": kept, "MALLOC_MMAP_THRESHOLD_": kept}


def _shorten(log: Path) -> None:
    """Copies the end of a long log to a file beside it, and empties the log in place, because its writer
    holds the log open.

    A line that is written at this very moment may be lost. Errors of the disk are ignored.
    """
    with contextlib.suppress(OSError), log.open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= LOG_LIMIT:
            return
        file.seek(size - LOG_LIMIT)
        with contextlib.suppress(OSError):  # a full disk has no room for the copy; truncating frees some
            kept = os.open(log.with_suffix(".log.1"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(kept, "wb") as target:
                target.write(file.read(LOG_LIMIT))
        file.truncate(0)


def _tail(log: Path) -> str:
    try:
        return _end(log.read_text(errors="replace"))
    except OSError:
        return "it left no log"


def _end(output: str) -> str:
    """The last six lines of a program's output, as one line of at most _SHOWN characters, of whole words."""
    shown = " | ".join(line.strip() for line in output.strip().splitlines()[-6:])
    return shown if len(shown) <= _SHOWN else f"… {shown[-_SHOWN:].partition(' ')[2]}"


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
