"""What every role gets: settings, what the supervisor told this process, and when to stop."""

from __future__ import annotations

import contextlib
import gc
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from lapel.foundation.workers.sandbox import Layer
    from lapel.foundation.workers.spawning.spawner_client import SpawnerClient
    from lapel.process_environment import FromParent
    from lapel.settings import Settings

_log: structlog.stdlib.BoundLogger = structlog.get_logger("lapel.process")


@dataclass(frozen=True, slots=True)
class RoleProcess:
    """This process. `stop` is set when it shall end. `spawner` starts the fenced children of a worker that
    root has started."""

    settings: Settings
    parent: FromParent
    stop: asyncio.Event
    spawner: SpawnerClient | None = None

    def say_ready(self) -> None:
        """Tell the supervisor that this process serves."""
        gc.freeze()  # imported objects live until the end, so the collector can skip them
        gc.enable()
        if self.parent.ready_fd is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self.parent.ready_fd, b"ready\n")
            os.close(self.parent.ready_fd)
        _log.debug("process.ready")

    def say_confined(self, layers: Sequence[Layer]) -> None:
        """Log which layers of the sandbox the kernel has refused."""
        missing = [f"{each.name}: {each.why}" for each in layers if not each.holds]
        _log.debug("process.confined", missing=missing)
