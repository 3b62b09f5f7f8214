"""The slice of the request log, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice
from lapel.slices.logs import routes
from lapel.slices.logs.service import Logs

SLICE = Slice(
    name="logs",
    build=lambda services: (Logs(services.ports),),
    operations=lambda services: routes.operations(services[Logs]),
)
