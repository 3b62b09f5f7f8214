"""The role `worker`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING

import structlog

from lapel.foundation.workers.parent_death import end_with
from lapel.foundation.workers.sandbox import give_up_rights
from lapel.foundation.workers.worker_process import WorkerProcess
from lapel.hosting.worker import run_worker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lapel.foundation.ports import Ports
    from lapel.hosting.roles.role_process import RoleProcess

_log: structlog.stdlib.BoundLogger = structlog.get_logger("lapel.process")


async def run(process: RoleProcess) -> None:
    """Work until `process.stop` is set. On a socket of the supervisor, answer about this process."""
    # Hundreds of attempts of deliveries live at a time, and each collection looks at all of them in vain. An
    # attempt took 125 us of CPU time with this threshold, and 155 us with Python's 700 (medians of 8 turns of
    # 3,000 attempts, 100 at a time, on a busy machine).
    gc.set_threshold(20_000)
    async with _without_rights(process):
        if process.parent.listen_fd is None:  # the API of this machine answers for it
            await run_worker(process.settings, process.stop, process.say_ready)
            return
        from lapel.hosting.roles.serving_app import serve_app  # noqa: PLC0415  # imports much
        from lapel.slices.system.process_status import ProcessStatus  # noqa: PLC0415

        async def listen(ports: Ports) -> None:
            await serve_app(ProcessStatus(ports), process, public=True)  # it says that this process is ready

        await run_worker(process.settings, process.stop, lambda: None, listen)


@contextlib.asynccontextmanager
async def _without_rights(process: RoleProcess) -> AsyncGenerator[None]:
    """Give up root's rights; the spawner keeps those that fenced children need at their start."""
    layers = give_up_rights()
    end_with(process.parent.pid)
    process.say_confined(layers)
    spawner = WorkerProcess.spawner = process.spawner
    if spawner is None:
        yield
        return

    async def stop_without_spawner() -> None:
        await spawner.ended()
        # This process cannot get the rights back to make another one. The supervisor starts it again.
        _log.error("worker.spawner_ended", remedy="The worker ends and is started again.")
        process.stop.set()

    watching = asyncio.create_task(stop_without_spawner(), name="spawner")
    try:
        yield
    finally:
        watching.cancel()
