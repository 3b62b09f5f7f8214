"""The role `language-model`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from lapel.foundation.workers.local_sockets import listening_socket
from lapel.hosting.children import HOPELESS
from lapel.slices.language_models.local.generation_server import serve_generator
from lapel.slices.language_models.local.language_weights import find
from lapel.slices.language_models.local.local_generator import LocalGenerator
from lapel.slices.language_models.model_failures import ModelFailed

if TYPE_CHECKING:
    from lapel.hosting.roles.role_process import RoleProcess

_log: structlog.stdlib.BoundLogger = structlog.get_logger("lapel.process")


async def run(process: RoleProcess) -> None:
    """Generate texts until `process.stop` is set.

    Raises SystemExit without a socket, and with HOPELESS when the model cannot be used.
    """
    path = process.settings.language_model_socket
    if path is None:
        raise SystemExit("the language model has no socket")
    try:
        weights = find(process.settings.language_model)
    except ModelFailed as fault:
        _log.error("language_model.unusable", why=fault.message)
        raise SystemExit(HOPELESS) from fault
    if weights is None:  # it was removed since the start
        raise SystemExit(HOPELESS)
    generator = LocalGenerator(weights, process.settings, folder=path.parent)
    with listening_socket(path) as listener:
        await serve_generator(generator, listener, process.stop, process.say_ready)
