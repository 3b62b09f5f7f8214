"""The audit log over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.audit.wire import AuditPage, AuditQuery
from lapel.foundation.operations import NoBody, Operation

if TYPE_CHECKING:
    from lapel.audit.service import AuditLog
    from lapel.foundation.actors import Actor
    from lapel.foundation.operations import Params


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
