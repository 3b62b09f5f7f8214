"""The audit log over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.http.authorization import Access
from lapel.foundation.http.routes import Routes
from lapel.slices.audit.wire import AuditPage, AuditQuery

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
            "The log has the changes to the configuration and to providers, newest first: for each change "
            "its actor, and the values before and after it.",
        ),
    )
