"""The real processes that benchmarks measure.

Embedded PostgreSQL, Lapel's API and store as `lapel serve` starts them, and the peers.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import psutil

from benchmarks.fill import Filled, fill
from benchmarks.fill_devices import fill_devices
from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.database import migrations
from lapel.hosting.children import Child, Role, stop_all
from lapel.hosting.sockets import listen
from lapel.process_environment import child_environment
from lapel.settings import Settings
from tests.support.ports import free_ports

ACCESS_KEY = "benchmark"
SECRET_KEY = "benchmark-secret-key"
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """A process that listens on 127.0.0.1, and the processes `more` that share its port."""

    name: str
    port: int
    process: psutil.Process
    more: tuple[psutil.Process, ...] = field(default=(), kw_only=True)

    @property
    def cpu_seconds(self) -> float:
        """CPU time of all of them so far, in seconds."""
        return sum(_cpu_seconds(each) for each in (self.process, *self.more))

    @property
    def memory(self) -> tuple[float, float]:
        """(RSS, PSS) in MiB. PSS divides shared pages among their users; RSS where the system has no PSS."""
        info = self.process.memory_full_info()
        return info.rss / 2**20, getattr(info, "pss", info.rss) / 2**20


@dataclass(frozen=True, slots=True)
class Api(Server):
    """A Lapel API process, its settings, and the content of its database."""

    settings: Settings
    filled: Filled


class Rig:
    """One PostgreSQL in `folder`, and the servers started on it. All end with the block of `rig()`."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        # Several servers share it, while `lapel serve` allows only for its own processes' connections.
        self._postgres = stack.enter_context(EmbeddedPostgres(folder, extra={"max_connections": "200"}))
        self._secret = secrets.token_urlsafe(32)

    def database(self, name: str, recordings: int) -> tuple[str, Filled]:
        """URL of a new database with so many recordings, and what clients need of it."""
        asyncio.run(_create(self._postgres, name))
        url = self._postgres.dsn(database=name)
        migrations.upgrade(url)
        superuser = self._postgres.dsn("postgres", name)
        return url, asyncio.run(fill(superuser, self._secret, recordings))

    def devices(self, name: str, world_id: int, count: int) -> list[str]:
        """Makes `count` bound devices in the database of this name; gives their tokens."""
        return asyncio.run(fill_devices(self._postgres.dsn("postgres", name), self._secret, world_id, count))

    def owner_dsn(self, name: str) -> str:
        """URL of the database of this name, for a superuser."""
        return self._postgres.dsn("postgres", name)

    @property
    def postgres_cpu_seconds(self) -> float:
        """CPU seconds of PostgreSQL's processes so far, also of those that have ended."""
        server = psutil.Process(self._postgres.pid)
        ended = server.cpu_times()
        live = sum(_cpu_seconds(each) for each in (server, *server.children(recursive=True)))
        return live + ended.children_user + ended.children_system

    def updates_in_place(self, name: str) -> tuple[int, int]:
        """How many updates of devices touched no index (HOT), and how many updates there were."""
        return asyncio.run(_updates(self._postgres.dsn("postgres", name)))

    def lapel(self, database: tuple[str, Filled], *, processes: int = 1, **variables: str) -> Api:
        """A store process and API processes on the database, which share one folder of objects.

        `variables` are LAPEL_* settings.
        """
        url, filled = database
        internal, publics = listen("127.0.0.1", 0)[0], listen("127.0.0.1", 0, processes)
        for each in (internal, *publics):
            self._stack.callback(each.close)
        port: int = publics[0].getsockname()[1]
        data = self.folder / f"lapel-{port}"
        (data / "objects").mkdir(parents=True)
        (data / "metrics").mkdir()
        settings = Settings.from_env(
            {
                "LAPEL_DATA_DIR": str(data),
                "LAPEL_PORT": str(port),
                "LAPEL_DATABASE_URL": url,
                "LAPEL_EMBEDDED_DATABASE": "on",
                "LAPEL_EMBEDDED_STORE": "on",
                "LAPEL_S3_ENDPOINT": f"http://127.0.0.1:{internal.getsockname()[1]}",
                "LAPEL_S3_ACCESS_KEY_ID": ACCESS_KEY,
                "LAPEL_S3_SECRET_ACCESS_KEY": SECRET_KEY,
                "LAPEL_SECRET": self._secret,
                "LAPEL_RATE_LIMITS": "off",
                "LAPEL_LOG_FORMAT": "json",
                **variables,
            }
        )
        self._child("store", settings, internal)
        first, *more = (psutil.Process(self._child("api", settings, each)) for each in publics)
        return Api("lapel", port, first, settings, filled, more=tuple(more))

    def peer(self, module: str, api: Api, *, name: str | None = None, **environment: str) -> Server:
        """A peer on the database of `api`; it signs links for that API's store."""
        (port,) = free_ports(1)
        own = {
            "BENCH_DATABASE_URL": str(api.settings.database_url),
            "BENCH_STORE_URL": api.settings.store_url,
            "BENCH_ACCESS_KEY": ACCESS_KEY,
            "BENCH_SECRET_KEY": SECRET_KEY,
            "BENCH_KEY": api.filled.key,
            "BENCH_WORLD": str(api.filled.world_id),
            **environment,
        }
        return self._listening(name or module, port, "serve", module, str(port), environment=own)

    def receiver(self, delay: float = 0.0) -> Server:
        """A receiver of webhooks that answers after `delay` seconds."""
        (port,) = free_ports(1)
        return self._listening("receiver", port, "webhook_receiver", str(port), str(delay), environment={})

    def worker(self, api: Api, **variables: str) -> psutil.Process:
        """A worker process on the database and store of `api`. `variables` are LAPEL_* settings."""
        settings = Settings.from_env(api.settings.to_env() | variables)
        with listen("127.0.0.1", 0)[0] as unused:
            return psutil.Process(self._child("worker", settings, unused))

    def _listening(
        self, name: str, port: int, module: str, *arguments: str, environment: Mapping[str, str]
    ) -> Server:
        """A module of the peers in a process of its own that listens on a port."""
        command = [sys.executable, "-m", f"benchmarks.peers.{module}", *arguments]
        process = subprocess.Popen(command, env={**os.environ, **environment})
        self._stack.callback(_end, process)
        wait_for_port(port, process)
        return Server(name, port, psutil.Process(process.pid))

    def _child(self, role: Role, settings: Settings, listener: socket.socket) -> int:
        metrics, name = str(settings.data_dir / "metrics"), f"{role}-{listener.fileno()}"

        def environment(own: Mapping[str, str]) -> dict[str, str]:
            ours = {"PROMETHEUS_MULTIPROC_DIR": metrics, "LAPEL_METRICS_NAME": name}
            return {**child_environment(settings, own), **ours}

        child = Child(role, role, environment, listener.fileno())
        log = self.folder / f"{role}-{settings.port}.log"
        with _errors_to(log):
            child.start()
        self._stack.callback(stop_all, [child], 5.0, lambda: False)
        if not child.hear() or child.process is None:
            raise RuntimeError(f"the {role} process does not start: {log.read_text()}")
        return child.process.pid


@contextmanager
def rig() -> Generator[Rig]:
    """A rig in a temporary folder, which is removed at the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="lapel-bench-"))
    try:
        with ExitStack() as stack:
            yield Rig(folder, stack)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _errors_to(path: Path) -> Generator[None]:
    """Processes that are started in the block write their log to this file."""
    saved = os.dup(2)
    try:
        with path.open("wb") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


async def _updates(dsn: str) -> tuple[int, int]:
    connection = await asyncpg.connect(dsn)
    try:
        row = await connection.fetchrow(
            "SELECT n_tup_hot_upd, n_tup_upd FROM pg_stat_user_tables WHERE relname = 'devices'"
        )
    finally:
        await connection.close()
    return (0, 0) if row is None else (row[0], row[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when the port is listened on. Raises RuntimeError when the process ends or takes too long."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens on port {port}")


def ask(port: int, method: str, path: str, token: str, body: bytes = b"") -> tuple[int, bytes]:
    """Status and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = {"Authorization": f"Bearer {token}"}
        if body:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


async def _create(postgres: EmbeddedPostgres, name: str) -> None:
    for database, statement in (
        ("postgres", f'CREATE DATABASE "{name}" OWNER lapel'),
        (name, "CREATE EXTENSION vector"),
    ):
        connection = await asyncpg.connect(postgres.dsn("postgres", database))
        await connection.execute(statement)
        await connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
