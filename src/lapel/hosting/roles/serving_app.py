"""An application on the socket of this process."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from lapel.foundation.core.clock import SystemClock
from lapel.foundation.core.ids import TimeOrderedIds
from lapel.hosting.connections.connection_limits import HttpLimits
from lapel.hosting.listener import serve
from lapel.hosting.sockets import listen

if TYPE_CHECKING:
    from lapel.foundation.core.asgi import App
    from lapel.hosting.roles.role_process import RoleProcess


async def serve_app(app: App, process: RoleProcess, *, public: bool) -> None:
    """Serve on the supervisor's socket, else on a new one. `public`: with TLS if there is a certificate."""
    settings = process.settings
    if process.parent.listen_fd is not None:
        sockets = [socket.socket(fileno=process.parent.listen_fd)]
    else:
        sockets = listen(settings.host, settings.first_port)
    ids = TimeOrderedIds(SystemClock())
    limits = HttpLimits(
        settings.header_timeout, settings.body_timeout, settings.header_limit, lambda: ids.new("req")
    )
    tls = (settings.tls_cert, settings.tls_key) if public and settings.tls_cert and settings.tls_key else None
    await serve(app, sockets, limits, process.stop, ready=process.say_ready, tls=tls)
