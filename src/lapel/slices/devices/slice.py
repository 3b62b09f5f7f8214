"""The slice of devices, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice
from lapel.slices.devices import routes
from lapel.slices.devices.service import Devices

SLICE = Slice(
    name="devices",
    build=lambda services: (Devices(services.ports),),
    operations=lambda services: routes.operations(services[Devices]),
)
