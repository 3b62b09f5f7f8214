"""The role `worker`."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from lapel.hosting.worker import run_worker

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports
    from lapel.hosting.roles.role_process import RoleProcess


async def run(process: RoleProcess) -> None:
    """Work until `process.stop` is set. On a socket of the supervisor, answer about this process."""
    # Hundreds of attempts of deliveries live at a time, and each collection looks at all of them in vain. An
    # attempt took 125 us of CPU time with this threshold, and 155 us with Python's 700 (medians of 8 turns of
    # 3,000 attempts, 100 at a time, on a busy machine).
    gc.set_threshold(20_000)
    if process.parent.listen_fd is None:  # the API of this machine answers for it
        await run_worker(process.settings, process.stop, process.say_ready)
        return
    from lapel.hosting.roles.serving_app import serve_app  # noqa: PLC0415  # imports much
    from lapel.slices.system.process_status import ProcessStatus  # noqa: PLC0415

    async def listen(ports: Ports) -> None:
        await serve_app(ProcessStatus(ports), process, public=True)  # it says that this process is ready

    await run_worker(process.settings, process.stop, lambda: None, listen)
