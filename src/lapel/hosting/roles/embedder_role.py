"""The role `embedder`."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import structlog

from lapel.foundation.workers.local_sockets import listening_socket
from lapel.foundation.workers.parent_death import end_with
from lapel.foundation.workers.sandbox import confine
from lapel.hosting.children import HOPELESS

# numpy starts no thread: a process of several threads cannot give up all its rights.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
from lapel.slices.embeddings.embedder.embedder_server import EmbedderServer
from lapel.slices.embeddings.model.loaded_model import NoEmbeddings, installed

if TYPE_CHECKING:
    from lapel.hosting.roles.role_process import RoleProcess

# The process has 150 MB of memory. The supervisor, which listens at its socket, starts it again.
_IDLE_SECONDS = 900.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger("lapel.process")


async def run(process: RoleProcess) -> None:
    """Embed until `process.stop` is set, or nobody has asked for a quarter of an hour.

    A confined process cannot open any file, so everything is imported before.

    Raises SystemExit without a socket, and with HOPELESS when the model cannot be used.
    """
    settings, parent = process.settings, process.parent
    if settings.embedder_socket is None:
        raise SystemExit("the embedder has no socket")
    try:
        model = installed(settings.speech_threads)
        if parent.listen_fd is None:
            listener, idle_seconds = listening_socket(settings.embedder_socket), None
        else:
            listener, idle_seconds = socket.socket(fileno=parent.listen_fd), _IDLE_SECONDS
            listener.setblocking(False)
        layers = confine(needs_code=False, serves=True)
        end_with(parent.pid)
        model.start()
    except NoEmbeddings as fault:
        _log.error("embedder.no_model", error=str(fault))
        raise SystemExit(HOPELESS) from fault
    process.say_confined(layers)
    await EmbedderServer(model).run(listener, process.stop, process.say_ready, idle_seconds=idle_seconds)
