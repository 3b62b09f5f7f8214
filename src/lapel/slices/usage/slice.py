"""The slice of the usage of a project, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice
from lapel.slices.usage import routes
from lapel.slices.usage.service import UsageMeter

SLICE = Slice(
    name="usage",
    build=lambda services: (UsageMeter(services.ports),),
    operations=lambda services: routes.operations(services[UsageMeter]),
)
