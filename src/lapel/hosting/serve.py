"""`lapel serve`, from the first check until the last process has ended."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import structlog

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.workers.local_sockets import listening_socket
from lapel.hosting import prepare
from lapel.hosting.children import Child, Role
from lapel.hosting.data_folder import DataFolder, Running
from lapel.hosting.forks import Forks
from lapel.hosting.prepare import Say, Sockets
from lapel.hosting.tree import Tree
from lapel.process_environment import child_environment
from lapel.settings import Settings
from lapel.slices.embeddings.model.model_files import installed_model

# The folders in them are made 0700 or not used.
_MEMORY, _TEMPORARY = Path("/dev/shm"), Path("/tmp")  # noqa: S108
_log: structlog.stdlib.BoundLogger = structlog.get_logger("lapel.supervisor")


@dataclasses.dataclass(frozen=True, slots=True)
class Serving:
    """What `announce` gets once everything is up. `first_key` is set on the first start only.

    `seconds`: from the call of `serve` until all processes were ready.
    """

    settings: Settings
    folder: Path | None
    first_key: str | None
    seconds: float


def serve(
    settings: Settings,
    say: Say,
    check: Callable[[Settings], None],
    announce: Callable[[Serving], None],
    clock: Callable[[], float],
) -> None:
    """Runs the process tree until a signal.

    `say` gets sentences for people during the start. `check` is called with complete settings before the
    processes start, unless they use no database; it raises what ends the start. `announce` is called once
    everything is up. `clock` gives monotonic seconds.

    Raises SettingsError when the certificate or the keys of the store cannot be used, DataFolderError when
    the data folder or the database's schema cannot be used, AddressInUse when the address cannot be listened
    on, PostgresError when the embedded database does not start, and StartFailed when a process never gets
    ready.
    """
    began = clock()
    prepare.check_tls(settings)
    prepare.check_store_keys(settings)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(_folder(settings))
        settings = prepare.with_secret(settings, folder)
        sockets = prepare.open_sockets(settings)
        stack.callback(sockets.close)
        metrics = stack.enter_context(_private_folder("metrics", folder))
        embedder = None
        if settings.role in {"all", "api"} and installed_model() is not None:
            place = stack.enter_context(_private_folder("embedder", folder)) / "socket"
            embedder = _listener(place)
            settings = dataclasses.replace(settings, embedder_socket=None if embedder is None else place)
        if prepare.has_language_model(settings):
            place = stack.enter_context(_private_folder("model", folder))
            settings = dataclasses.replace(settings, language_model_socket=place / "socket")
        postgres = prepare.embedded_postgres(settings, folder, say)
        children: list[Child] = []
        tree = Tree(postgres, children)
        stack.enter_context(tree.signals())
        stack.callback(tree.stop)
        # Close the sockets before the processes drain, so that new connections are refused and do not wait.
        stack.callback(sockets.close)
        if embedder is not None:
            stack.callback(embedder.close)
        forks = Forks(_roles(settings))
        if postgres is not None:
            postgres.start(interrupted=lambda: tree.stopping)
        settings = _complete(settings, postgres, sockets)
        prepare.prepare_database(settings, folder)
        if settings.role != "store":
            check(settings)
        if folder is not None:
            folder.objects.mkdir(mode=0o700, exist_ok=True)
        children.extend(_children(settings, sockets, metrics, forks))
        children.extend(_models(settings, embedder))

        def up() -> None:
            first_key = None
            if folder is not None:
                # The key is made only after everything is up, because after a failed start no one would see
                # the key.
                first_key = _first_key(settings) if folder.version() is None else None
                folder.write_version()
                folder.write_running(_running(settings))
                stack.callback(folder.clear_running)
            announce(Serving(settings, folder.path if folder else None, first_key, clock() - began))

        tree.run(up)


@contextlib.contextmanager
def _folder(settings: Settings) -> Generator[DataFolder | None]:
    """The data folder, checked and locked; None when this machine stores nothing."""
    if not prepare.needs_folder(settings):
        yield None
        return
    folder = DataFolder(settings.data_dir)
    folder.prepare()
    with folder.locked():
        folder.check_version()
        folder.clear_running()  # a killed server leaves run.json behind
        yield folder


def _complete(settings: Settings, postgres: EmbeddedPostgres | None, sockets: Sockets) -> Settings:
    if sockets.public:
        settings = dataclasses.replace(settings, port=sockets.public[0].getsockname()[1])
    endpoint = f"http://127.0.0.1:{sockets.store.getsockname()[1]}" if sockets.store else None
    return prepare.complete(settings, postgres.dsn() if postgres else None, endpoint)


def _listener(path: Path) -> socket.socket | None:
    """The embedder's socket; None if there can be none, because the server works without it."""
    try:
        return listening_socket(path)
    except OSError as fault:
        _log.error("embedder.no_socket", path=str(path), error=str(fault))
        return None


def _roles(settings: Settings) -> frozenset[Role]:
    """The roles of this machine's processes, without those of the models."""
    if settings.role != "all":
        return frozenset({settings.role})
    return frozenset({"api", "store", "worker"} if settings.uses_embedded_store else {"api", "worker"})


def _children(settings: Settings, sockets: Sockets, metrics: Path, forks: Forks) -> list[Child]:
    def environment(name: str) -> Callable[[Mapping[str, str]], dict[str, str]]:
        ours = {"PROMETHEUS_MULTIPROC_DIR": str(metrics), "LAPEL_METRICS_NAME": name}
        return lambda own: {**child_environment(settings, own), **ours}

    def child(role: Role, name: str, listener: int | None = None) -> Child:
        return Child(role, name, environment(name), listener, spawn=forks.spawn)

    children: list[Child] = []
    if sockets.store is not None:
        children.append(child("store", "store", sockets.store.fileno()))
    if settings.role == "store":
        children.append(child("store", "store", sockets.public[0].fileno()))
    elif settings.role == "worker":
        children.append(child("worker", "worker", sockets.public[0].fileno()))
    else:
        for number, public in enumerate(sockets.public, 1):
            name = "api" if len(sockets.public) == 1 else f"api-{number}"
            children.append(child("api", name, public.fileno()))
    if settings.role == "all":
        children.append(child("worker", "worker"))
    return children


def _models(settings: Settings, embedder: socket.socket | None) -> list[Child]:
    """The processes of the models that are installed. `embedder`: the socket of the first."""
    bare = _without_secrets(settings)

    def environment(own: Mapping[str, str]) -> dict[str, str]:
        return child_environment(bare, own)

    models: list[Child] = []
    if embedder is not None:
        models.append(Child("embedder", "embedder", environment, essential=False, demand_listener=embedder))
    if settings.language_model_socket is not None:
        models.append(Child("language-model", "language-model", environment, essential=False))
    return models


def _without_secrets(settings: Settings) -> Settings:
    """The settings of a process that reads hostile texts: only what it needs."""
    needed = ("embedder_socket", "speech_threads", "log_level", "log_format")
    of_model = ("", "_context", "_threads", "_idle_seconds", "_socket")
    names = [*needed, *(f"language_model{each}" for each in of_model)]
    return Settings(**{name: getattr(settings, name) for name in names})


def _running(settings: Settings) -> Running:
    return Running(
        pid=os.getpid(),
        base_url=settings.base_url,
        host=settings.host,
        port=settings.first_port,
        tls=settings.tls_cert is not None,
        # A URL from the settings contains a password and must not go into a file. Commands read the same
        # settings.
        database_url=settings.database_url if settings.embedded_database else None,
        store_endpoint=settings.s3_endpoint if settings.embedded_store else None,
    )


@contextlib.contextmanager
def _private_folder(purpose: str, folder: DataFolder | None) -> Generator[Path]:
    """A folder, empty at the start, that the processes of this server share; removed at the end.

    It is in memory (/dev/shm) if possible. The files of metrics are mapped, and a full disk would kill the
    processes that write to them. The path of a socket may have 107 bytes, see unix(7); this one is short.
    """
    short = (each for each in (_MEMORY, _TEMPORARY) if os.access(each, os.W_OK))
    base = next(short, Path(tempfile.gettempdir()))
    name = f"lapel-{purpose}-"
    path = base / (name + hashlib.sha256(bytes(folder.path)).hexdigest()[:10]) if folder else None
    if path is not None:
        shutil.rmtree(path, ignore_errors=True)  # left by a killed server
    try:
        if path is None:
            path = Path(tempfile.mkdtemp(prefix=name, dir=base))
        else:
            path.mkdir(mode=0o700)
    except FileExistsError:  # made by another user
        path = Path(tempfile.mkdtemp(prefix=name, dir=base))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _first_key(settings: Settings) -> str | None:
    """A secret key for the test world of a new installation; None if the installation already has keys."""
    if settings.role != "all":
        return None
    from lapel.foundation.ports import open_ports  # noqa: PLC0415  # only a first start needs it
    from lapel.slices.projects.operator import ensure_first_key  # noqa: PLC0415

    async def make() -> str | None:
        async with open_ports(settings) as ports:
            made = await ensure_first_key(ports)
            return None if made is None else made.key

    return asyncio.run(make())
