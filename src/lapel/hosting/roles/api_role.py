"""The role `api`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.workers.parent_death import end_with
from lapel.foundation.workers.sandbox import give_up_rights
from lapel.hosting.api_server import create_app
from lapel.hosting.roles.serving_app import serve_app

if TYPE_CHECKING:
    from lapel.hosting.roles.role_process import RoleProcess


async def run(process: RoleProcess) -> None:
    """Serve the API until `process.stop` is set."""
    if process.parent.listen_fd is not None:  # without a socket, opening one may need a right
        layers = give_up_rights()
        end_with(process.parent.pid)
        process.say_confined(layers)
    await serve_app(create_app(process.settings, process.stop), process, public=True)
