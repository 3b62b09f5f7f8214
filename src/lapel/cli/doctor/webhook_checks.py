"""Whether webhooks can be delivered to, and are in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.cli.doctor.checks import Finding, another_worker
from lapel.cli.doctor.secret_checks import find_unreadable
from lapel.slices.webhooks import queries, signing_secrets
from lapel.slices.webhooks.waiting_queries import measure_backlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.seal import Sealer
    from lapel.settings import Settings


def webhook_secrets(connection: Connection, sealer: Sealer) -> AsyncIterator[Finding]:
    """Whether the server's secret decrypts those of webhooks; nothing when there are no webhooks."""
    return find_unreadable(
        "webhooks",
        "secrets",
        queries.walk_sealed(connection),
        lambda row: signing_secrets.opened(sealer, row.world_id, row.id, row.sealed_secret),
        lambda row: row.id,
        "Set LAPEL_SECRET_PREVIOUS to the former secret, or replace the webhooks' secrets: "
        "POST /v1/webhooks/ID/rotate-secret.",
    )


async def deliveries(connection: Connection, settings: Settings) -> Finding:
    """Whether deliveries wait that only lack a worker. Those of failing webhooks are not counted."""
    overdue = (await measure_backlog(connection)).overdue
    if overdue:
        detail = f"deliveries to {overdue} webhooks that work are overdue for more than five minutes"
        return Finding("deliveries", "warning", detail, another_worker(settings))
    return Finding("deliveries", "ok", "none is overdue")
