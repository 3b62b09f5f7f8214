"""The slice of webhooks, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.slices import Slice, Table
from lapel.slices.webhooks import jobs, routes
from lapel.slices.webhooks.events import SAMPLES
from lapel.slices.webhooks.records.deliveries import Deliveries
from lapel.slices.webhooks.records.endings import Endings
from lapel.slices.webhooks.records.recoveries import Recoveries
from lapel.slices.webhooks.records.samples import Samples
from lapel.slices.webhooks.service import Webhooks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.slices import Services
    from lapel.slices.webhooks.delivery.engine import DeliveryEngine


def _build(services: Services) -> Sequence[object]:
    ports = services.ports
    makers = {name: make for each in services.slices for name, make in each.events.items()}
    return (Webhooks(ports), Deliveries(ports), Samples(ports, makers), Recoveries(ports), Endings(ports))


def _worker(services: Services) -> tuple[DeliveryEngine]:
    # Only a worker process needs the engine and its HTTP client.
    from lapel.slices.webhooks.delivery.engine import DeliveryEngine  # noqa: PLC0415

    return (DeliveryEngine(services.ports, services[Endings]),)


_CRASH_POINTS = (
    "fan-out:placed",
    "fan-out:before-commit",
    "fan-out:committed",
    "delivery:claimed",
    "delivery:answered",
    "delivery:attempted",
    "delivery:before-commit",
    "delivery:committed",
    "remove-erased:before-commit",
    "remove-erased:committed",
    # the jobs
    "recover:before-commit",
    "recover:committed",
    "bring-forward:before-commit",
    "bring-forward:committed",
    "end-pending:before-commit",
    "end-pending:committed",
    "remove-webhook:before-commit",
    "remove-webhook:committed",
)

SLICE = Slice(
    name="webhooks",
    build=_build,
    operations=lambda services: routes.operations(
        services[Webhooks], services[Deliveries], services[Samples]
    ),
    jobs=lambda services: jobs.handlers(services[Endings], services[Recoveries]),
    worker=_worker,
    scopes=("webhooks:read", "webhooks:write"),
    ids={"webhook_id": "wh", "delivery_id": "whd"},
    tables=(
        Table("webhooks", grows=True),
        Table("webhook_deliveries", grows=True),
        Table("webhook_attempts", grows=True),
    ),
    events=SAMPLES,
    lanes=(jobs.MANY_DELIVERIES,),
    crash_points=_CRASH_POINTS,
)
