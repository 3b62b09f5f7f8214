"""The audit log over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.http.operations import NoBody, Operation
from lapel.slices.audit.wire import AuditPage, AuditQuery

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.http.operations import Params
    from lapel.slices.audit.service import AuditLog


def operations(service: AuditLog) -> tuple[Operation, ...]:
    """Every route of the audit log."""

    async def list_entries(actor: Actor, _params: Params, query: AuditQuery, _body: NoBody) -> AuditPage:
        return await service.list(actor, query)

    return (
        Operation(
            method="GET",
            path="/v1/audit-log",
            name="list_audit_log",
            summary="List the audit log",
            tag="Administration",
            description="Who changed what, from what to what, newest first. Configuration is written here.",
            handler=list_entries,
            scope="audit:read",
            query=AuditQuery,
            response=AuditPage,
        ),
    )
