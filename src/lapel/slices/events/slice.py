"""The slice of events, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice
from lapel.slices.events import routes
from lapel.slices.events.service import Events
from lapel.slices.webhooks.service import Webhooks

SLICE = Slice(
    name="events",
    build=lambda services: (
        Events(services.ports, frozenset(name for each in services.slices for name in each.events)),
    ),
    operations=lambda services: routes.operations(services[Events], services[Webhooks]),
)
