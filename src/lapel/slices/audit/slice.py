"""The slice of the audit log, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice, Table
from lapel.slices.audit import routes
from lapel.slices.audit.service import AuditLog

SLICE = Slice(
    name="audit",
    build=lambda services: (AuditLog(services.ports),),
    operations=lambda services: routes.operations(services[AuditLog]),
    scopes=("audit:read",),
    tables=(Table("audit_chain"), Table("audit_checkpoints")),
)
