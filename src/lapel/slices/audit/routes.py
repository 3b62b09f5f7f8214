"""The audit log over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.http.authorization import Access
from lapel.foundation.http.routes import Routes
from lapel.slices.audit.wire import AuditExportQuery, AuditPage, AuditQuery

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.slices.audit.service import AuditLog

_AUDIT = Access("audit:read")


def operations(service: AuditLog) -> tuple[Operation, ...]:
    """Every route of the audit log."""
    log = Routes("Administration", read=_AUDIT, write=_AUDIT)
    return (
        log.get("/v1/audit-log", "list_audit_log", AuditPage, AuditQuery).plain(
            "List the audit log",
            lambda call: service.list(call.actor, call.query),
            "Newest first. One entry for each write of a caller, of a command of `lapel` and of a speech "
            "service, and for each webhook that the server disables: its actor and the client's address, "
            "and for some resources the values before and after it. Refused requests, repeats and requests "
            "that change nothing leave no entry; heartbeats, signed links and Wi-Fi grants neither.",
        ),
        log.get("/v1/audit-log/export", "export_audit_log", query=AuditExportQuery).content(
            "Export the audit log",
            lambda call: service.export(call.actor, call.query),
            "The entries of a time range as NDJSON: one entry a line, as the list shows it, oldest first. "
            "Without `until`, the export ends with the time of the request. The other filters of the list "
            "do not apply. A world may have two exports under way in one process; a third one waits, and is "
            "answered 503 after some seconds.",
            answer="file",
            file_types=("application/x-ndjson",),
            sized=lambda _: service.room(),
        ),
    )
