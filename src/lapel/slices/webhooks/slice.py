"""The slice of webhooks, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice, Table
from lapel.slices.webhooks import jobs, routes
from lapel.slices.webhooks.records.endings import Endings
from lapel.slices.webhooks.service import Webhooks

SLICE = Slice(
    name="webhooks",
    build=lambda services: (Webhooks(services.ports), Endings(services.ports)),
    operations=lambda services: routes.operations(services[Webhooks]),
    jobs=lambda services: jobs.handlers(services[Endings]),
    scopes=("webhooks:read", "webhooks:write"),
    ids={"webhook_id": "wh"},
    tables=(
        Table("webhooks", grows=True),
        Table("webhook_deliveries", grows=True),
        Table("webhook_attempts", grows=True),
    ),
    crash_points=(
        "end-pending:before-commit",
        "end-pending:committed",
        "remove-webhook:before-commit",
        "remove-webhook:committed",
    ),
)
