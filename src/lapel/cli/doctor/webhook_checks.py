"""Whether webhooks can be delivered to, and are in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.cli.doctor.checks import Finding, another_worker
from lapel.foundation.identity.seal import SealBroken
from lapel.slices.webhooks import queries, signing_secrets
from lapel.slices.webhooks.waiting_queries import measure_backlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.seal import Sealer
    from lapel.settings import Settings
    from lapel.slices.webhooks.rows import SealedRow

# The most webhooks that a finding names.
_NAMED = 3


async def webhook_secrets(connection: Connection, sealer: Sealer) -> AsyncIterator[Finding]:
    """Whether the server's secret decrypts those of webhooks; nothing when there are no webhooks."""
    named: list[str] = []
    lost = count = 0
    async for rows in queries.walk_sealed(connection):
        count += len(rows)
        closed = [row.id for row in rows if not _can_open(sealer, row)]
        lost += len(closed)
        named = [*named, *closed][:_NAMED]
    if lost:
        more = f" and {lost - _NAMED} more" if lost > _NAMED else ""
        yield Finding(
            "webhooks",
            "broken",
            f"secrets sealed under another secret: {', '.join(named)}{more}",
            "Set LAPEL_SECRET_PREVIOUS to the former secret, or replace the webhooks' secrets: "
            "POST /v1/webhooks/ID/rotate-secret.",
        )
    elif count:
        yield Finding("webhooks", "ok", f"secrets that can be read: {count}")


def _can_open(sealer: Sealer, row: SealedRow) -> bool:
    try:
        signing_secrets.opened(sealer, row.world_id, row.id, row.sealed_secret)
    except SealBroken:
        return False
    return True


async def deliveries(connection: Connection, settings: Settings) -> Finding:
    """Whether deliveries wait that only lack a worker. Those of failing webhooks are not counted."""
    overdue = (await measure_backlog(connection)).overdue
    if overdue:
        detail = f"deliveries to {overdue} webhooks that work are overdue for more than five minutes"
        return Finding("deliveries", "warning", detail, another_worker(settings))
    return Finding("deliveries", "ok", "none is overdue")
