"""One process of `lapel serve`: `python -m lapel.hosting.child ROLE`.

Roles: api, worker, store, embedder, language-model. This is not a command for people. The process reads its
settings only from LAPEL_*, writes `ready` to the descriptor that it inherits, drains and stops on SIGTERM,
and ends when the supervisor ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import uvloop

from lapel.foundation import telemetry
from lapel.foundation.core import crash_points
from lapel.foundation.core.clock import SystemClock
from lapel.foundation.core.ids import TimeOrderedIds
from lapel.foundation.workers import open_files
from lapel.foundation.workers.parent_death import end_with, keep_one_heap
from lapel.hosting.connections.connection_limits import HttpLimits
from lapel.hosting.listener import serve
from lapel.hosting.sockets import listen
from lapel.process_environment import from_parent
from lapel.settings import Settings

if TYPE_CHECKING:
    from lapel.foundation.core.asgi import App
    from lapel.process_environment import FromParent

_log: structlog.stdlib.BoundLogger = structlog.get_logger("lapel.process")


def main() -> None:
    """Runs the role named on the command line until SIGTERM.

    Raises SettingsError when the environment holds a setting that cannot be used.
    """
    gc.disable()  # until ready: there is almost nothing to collect, and collecting takes a fifth of the start
    role = sys.argv[1]
    parent = from_parent()
    end_with(parent.pid)
    keep_one_heap()
    settings = Settings.load()
    telemetry.configure(settings.log_level, settings.log_format, role)
    crash_points.arm(parent.crash)
    open_files.raise_limit()
    runs = {
        "api": _api,
        "store": _store,
        "worker": _worker,
        "embedder": _embedder,
        "language-model": _language_model,
    }[role]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_told(lambda stop: runs(settings, parent, stop)))


async def _until_told(run: Callable[[asyncio.Event], Coroutine[None, None, None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    watching = asyncio.create_task(open_files.watch_limit(), name="open-files")
    try:
        await run(stop)
    finally:
        watching.cancel()


async def _api(settings: Settings, parent: FromParent, stop: asyncio.Event) -> None:
    from lapel.foundation.workers.sandbox import give_up_rights  # noqa: PLC0415  # only this role needs it
    from lapel.hosting.api_server import create_app  # noqa: PLC0415  # only this role needs it

    if parent.listen_fd is not None:  # without a socket, opening one may need a right
        layers = give_up_rights()
        end_with(parent.pid)
        _log.debug("api.confined", missing=[f"{each.name}: {each.why}" for each in layers if not each.holds])
    await _serve(create_app(settings, stop), settings, parent, stop, public=True)


async def _store(settings: Settings, parent: FromParent, stop: asyncio.Event) -> None:
    # Only this role needs these modules.
    from lapel.embedded.s3.endpoint import create_store_app  # noqa: PLC0415
    from lapel.embedded.s3.protocol.mismatch import links_of  # noqa: PLC0415
    from lapel.slices.recordings.content_types import all_content_types  # noqa: PLC0415

    if settings.s3_access_key_id is None or settings.s3_secret_access_key is None:
        raise SystemExit("the store has no access key")
    application = create_store_app(
        settings.data_dir / "objects",
        {settings.s3_access_key_id: settings.s3_secret_access_key},
        clock=SystemClock(),
        region=settings.s3_region,
        buckets=(settings.s3_bucket,),
        min_free_bytes=settings.min_free_bytes,
        ceilings=settings.media_ceilings,
        elsewhere=links_of(settings.store_url, all_content_types()),
    )
    _confine_store(settings, parent)
    await _serve(application, settings, parent, stop, public=settings.role == "store")


def _confine_store(settings: Settings, parent: FromParent) -> None:
    """Confines the store to its socket and its folders. A store that must open its socket is not confined."""
    from lapel.foundation.workers.sandbox import confine  # noqa: PLC0415  # only this role needs it

    if parent.listen_fd is None:
        return
    metrics = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    tls = [each for each in (settings.tls_cert, settings.tls_key) if each is not None]
    writes = [settings.data_dir / "objects", *([Path(metrics)] if metrics else [])]
    layers = confine([Path("/etc/ssl"), *tls], writes, own_account=False, serves=True)
    end_with(parent.pid)
    _log.debug("store.confined", missing=[f"{each.name}: {each.why}" for each in layers if not each.holds])


async def _worker(settings: Settings, parent: FromParent, stop: asyncio.Event) -> None:
    from lapel.hosting.worker import run_worker  # noqa: PLC0415  # only this role needs it

    # Hundreds of attempts of deliveries live at a time, and each collection looks at all of them in vain. An
    # attempt took 125 us of CPU time with this threshold, and 155 us with Python's 700 (medians of 8 turns of
    # 3,000 attempts, 100 at a time, on a busy machine).
    gc.set_threshold(20_000)
    await run_worker(settings, stop, lambda: _say_ready(parent))


async def _embedder(settings: Settings, parent: FromParent, stop: asyncio.Event) -> None:
    # numpy starts no thread: a process of several threads cannot give up all its rights.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    # Only this role needs these modules. Afterwards it imports nothing more: it cannot open any file.
    from lapel.foundation.workers.local_sockets import listening_socket  # noqa: PLC0415
    from lapel.foundation.workers.sandbox import confine  # noqa: PLC0415
    from lapel.hosting.children import HOPELESS  # noqa: PLC0415
    from lapel.slices.embeddings.embedder.embedder_server import EmbedderServer  # noqa: PLC0415
    from lapel.slices.embeddings.model.loaded_model import NoEmbeddings, installed  # noqa: PLC0415

    if settings.embedder_socket is None:
        raise SystemExit("the embedder has no socket")
    try:
        model = installed(settings.speech_threads)
        listener = listening_socket(settings.embedder_socket)
        layers = confine(needs_code=False, serves=True)
        end_with(parent.pid)
        model.start()
    except NoEmbeddings as fault:
        _log.error("embedder.no_model", error=str(fault))
        raise SystemExit(HOPELESS) from fault
    _log.debug("embedder.confined", missing=[f"{each.name}: {each.why}" for each in layers if not each.holds])
    await EmbedderServer(model).run(listener, stop, lambda: _say_ready(parent))


async def _language_model(settings: Settings, parent: FromParent, stop: asyncio.Event) -> None:
    # Only this role needs these modules.
    from lapel.foundation.workers.local_sockets import listening_socket  # noqa: PLC0415
    from lapel.hosting.children import HOPELESS  # noqa: PLC0415
    from lapel.slices.language_models.local.generation_server import serve_generator  # noqa: PLC0415
    from lapel.slices.language_models.local.language_weights import find  # noqa: PLC0415
    from lapel.slices.language_models.local.local_generator import LocalGenerator  # noqa: PLC0415
    from lapel.slices.language_models.model_failures import ModelFailed  # noqa: PLC0415

    path = settings.language_model_socket
    if path is None:
        raise SystemExit("the language model has no socket")
    try:
        weights = find(settings.language_model)
    except ModelFailed as fault:
        _log.error("language_model.unusable", why=fault.message)
        raise SystemExit(HOPELESS) from fault
    if weights is None:  # it was removed since the start
        raise SystemExit(HOPELESS)
    generator = LocalGenerator(weights, settings, folder=path.parent)
    with listening_socket(path) as listener:
        await serve_generator(generator, listener, stop, lambda: _say_ready(parent))


async def _serve(
    app: App, settings: Settings, parent: FromParent, stop: asyncio.Event, *, public: bool
) -> None:
    """Serves on the supervisor's socket, else on a new one. `public`: with TLS if there is a certificate."""
    if parent.listen_fd is not None:
        sockets = [socket.socket(fileno=parent.listen_fd)]
    else:
        sockets = listen(settings.host, settings.port)
    ids = TimeOrderedIds(SystemClock())
    limits = HttpLimits(
        settings.header_timeout, settings.body_timeout, settings.header_limit, lambda: ids.new("req")
    )
    tls = (settings.tls_cert, settings.tls_key) if public and settings.tls_cert and settings.tls_key else None
    await serve(app, sockets, limits, stop, ready=lambda: _say_ready(parent), tls=tls)


def _say_ready(parent: FromParent) -> None:
    gc.freeze()  # imported objects live until the end, so the collector can skip them
    gc.enable()
    if parent.ready_fd is not None:
        with contextlib.suppress(BrokenPipeError):
            os.write(parent.ready_fd, b"ready\n")
        os.close(parent.ready_fd)
    _log.debug("process.ready")


if __name__ == "__main__":
    main()
