"""The check of `lapel doctor` on the rights over the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.cli.doctor.checks import Finding
from lapel.slices.audit.chain.chain_queries import changeable_tables

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection


async def audit_rights(connection: Connection) -> Finding:
    """Whether the database lets Lapel's own role change the audit log, which must only grow."""
    tables = await changeable_tables(connection)
    if not tables:
        return Finding("audit log", "ok", "Lapel's role in the database can add entries, but not change them")
    return Finding(
        "audit log",
        "warning",
        f"Lapel's role in the database may change or delete rows of {', '.join(tables)}",
        "Let LAPEL_DATABASE_URL name a role that is no superuser, and owns the tables; then run "
        "`lapel migrate`, which revokes these rights.",
    )
