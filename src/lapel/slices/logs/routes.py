"""The request log over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.http.authorization import Access
from lapel.foundation.http.routes import Routes
from lapel.slices.logs.wire import LogStreamQuery

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.slices.logs.service import Logs

# As for the audit log, which shows callers and addresses too.
_AUDIT = Access("audit:read")


def operations(service: Logs) -> tuple[Operation, ...]:
    """Every route of the request log."""
    logs = Routes("Administration", read=_AUDIT, write=_AUDIT)
    return (
        logs.get("/v1/logs/stream", "stream_logs", query=LogStreamQuery).stream(
            "Follow requests",
            lambda call: service.stream(call.actor, call.query),
            "Server-sent events: the requests of the key's world from now on, as they are answered, by any "
            "process of the server. `data` of each one is an object with `request_id`, `created_at`, "
            "`method`, `path`, `status`, `duration_ms`, `actor` (`kind` and `id`), `address` and "
            "`error_code`. A message with `event: missed` has the `count` of requests that were too many to "
            "show. A quiet stream sends a comment every 15 seconds. Requests are not stored: a client that "
            "connects again does not see those in between. The stream ends when the key is revoked, and "
            "when the server stops.",
        ),
    )
