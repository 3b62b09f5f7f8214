"""The slice of the audit log, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice, Table
from lapel.slices.audit import jobs, routes
from lapel.slices.audit.chain.chaining import AuditChains
from lapel.slices.audit.service import AuditLog

SLICE = Slice(
    name="audit",
    build=lambda services: (AuditLog(services.ports), AuditChains(services.ports)),
    operations=lambda services: routes.operations(services[AuditLog]),
    schedules=lambda services: jobs.schedules(services[AuditChains]),
    scopes=("audit:read",),
    tables=(Table("audit_chain"), Table("audit_checkpoints")),
    crash_points=("audit-chain:appended", "audit-chain:before-commit", "audit-chain:committed"),
)
