"""The slice of devices, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice, Table
from lapel.slices.devices import routes
from lapel.slices.devices.errors import DeviceAlreadyBound
from lapel.slices.devices.events import SAMPLES
from lapel.slices.devices.service import DeviceBindings, Devices
from lapel.slices.devices.tokens.lookup_queries import DEVICE_TOKEN

SLICE = Slice(
    name="devices",
    build=lambda services: (Devices(services.ports), DeviceBindings(services.ports)),
    operations=lambda services: routes.operations(services[Devices], services[DeviceBindings]),
    scopes=("devices:read", "devices:write"),
    ids={"device_id": "dev"},
    token_kinds=(DEVICE_TOKEN,),
    errors=(DeviceAlreadyBound,),
    # A device has at most three tokens, and their rows contain no text of clients.
    tables=(Table("devices", grows=True), Table("device_tokens")),
    events=SAMPLES,
)
