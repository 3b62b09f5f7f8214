"""One process of `lapel serve`: a fork of the supervisor, or `python -m lapel.hosting.child ROLE`.

Roles: api, worker, store, embedder, language-model. This is not a command for people. The process reads its
settings only from LAPEL_*, writes `ready` to the descriptor that it inherits, drains and stops on SIGTERM,
and ends when the supervisor ends.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from typing import TYPE_CHECKING, TypeAlias, cast

import uvloop

from lapel.foundation import telemetry
from lapel.foundation.core import crash_points
from lapel.foundation.workers import open_files
from lapel.foundation.workers.parent_death import end_with, keep_one_heap, name_process
from lapel.hosting.roles.role_process import RoleProcess
from lapel.hosting.spawner_fork import fork_spawner
from lapel.process_environment import from_parent
from lapel.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from lapel.hosting.children import Role

    Run: TypeAlias = Callable[[RoleProcess], Coroutine[None, None, None]]


def load(role: Role) -> Run:
    """The function of a role. Imports the modules that only this role needs."""
    match role:
        case "api":
            from lapel.hosting.roles.api_role import run  # noqa: PLC0415
        case "store":
            from lapel.hosting.roles.store_role import run  # noqa: PLC0415
        case "worker":
            from lapel.hosting.roles.worker_role import run  # noqa: PLC0415
        case "embedder":
            from lapel.hosting.roles.embedder_role import run  # noqa: PLC0415
        case "language-model":
            from lapel.hosting.roles.language_model_role import run  # noqa: PLC0415
    return run


def run(role: Role) -> None:
    """Run the role until SIGTERM.

    Raises SettingsError when the environment holds a setting that cannot be used, and what `load` raises.
    """
    gc.disable()  # until ready: there is almost nothing to collect, and collecting takes a fifth of the start
    parent = from_parent()
    end_with(parent.pid)
    name_process(f"lapel-{role}")
    keep_one_heap()
    if parent.metrics_name is not None:
        telemetry.share_metrics(parent.metrics_name)
    settings = Settings.load()
    telemetry.configure(settings.log_level, settings.log_format, role, waits=False)
    crash_points.arm(parent.crash)
    open_files.raise_limit()
    # Before there is a second thread, and before much is imported, which the fork would keep in memory.
    spawner = fork_spawner() if role == "worker" else None
    runs = load(role)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_told(lambda stop: runs(RoleProcess(settings, parent, stop, spawner))))


async def _until_told(runs: Callable[[asyncio.Event], Coroutine[None, None, None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    watching = asyncio.create_task(open_files.watch_limit(), name="open-files")
    try:
        await runs(stop)
    finally:
        watching.cancel()


if __name__ == "__main__":
    run(cast("Role", sys.argv[1]))
