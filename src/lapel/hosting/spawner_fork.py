"""The worker's spawner: a fork that keeps rights of root. It is made before the worker gives them up."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
from typing import TYPE_CHECKING, NoReturn

from lapel.foundation.workers.open_files import close_all_but
from lapel.foundation.workers.parent_death import end_with, name_process
from lapel.foundation.workers.sandbox import RIGHTS_TO_CONFINE, give_up_rights
from lapel.foundation.workers.spawning.spawner import Spawner
from lapel.foundation.workers.spawning.spawner_client import SpawnerClient

if TYPE_CHECKING:
    from collections.abc import Collection

# The worker's children that read hostile bytes. The spawner starts no other program.
FENCED_CHILDREN = frozenset(
    {
        "lapel.slices.embeddings.model.embedding_child",
        "lapel.slices.transcription.audio.decoder_child",
        "lapel.slices.transcription.models.process.engine_child",
    }
)


def fork_spawner(modules: Collection[str] = FENCED_CHILDREN) -> SpawnerClient | None:
    """The spawner of this process, which has one thread; None unless root runs it.

    An ordinary user's children need no right that the user could give up. Raises OSError when the operating
    system forks no process.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        return None
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = os.getpid()
    with theirs, contextlib.ExitStack() as unless_forked:
        unless_forked.callback(ours.close)
        pid = os.fork()
        if pid == 0:
            _serve(theirs, modules, parent)
        unless_forked.pop_all()
    return SpawnerClient(pid, ours)


def _serve(requests: socket.socket, modules: Collection[str], parent: int) -> NoReturn:
    """In the fork: start children until the parent is gone."""
    code = 1
    try:
        gc.freeze()  # the collector writes into no page that is shared
        gc.enable()
        name_process("lapel-spawner")
        close_all_but({0, 1, 2, requests.fileno()})
        give_up_rights(RIGHTS_TO_CONFINE)
        end_with(parent)
        Spawner(requests, modules).run()
        code = 0
    except BaseException as fault:  # noqa: BLE001 - as at the end of every Python
        sys.excepthook(type(fault), fault, fault.__traceback__)
    finally:
        os._exit(code)  # without what the worker does at its end
