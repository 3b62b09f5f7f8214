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
            "The actor of each change, and the values before and after, newest first. The log has changes "
            "of the configuration and of providers.",
        ),
    )
