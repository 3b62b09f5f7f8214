"""The slice of commands and grants, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice, Table
from lapel.slices.commands import routes
from lapel.slices.commands.service import Commands
from lapel.slices.devices.service import DeviceBindings

SLICE = Slice(
    name="commands",
    build=lambda services: (Commands(services.ports, services[DeviceBindings]),),
    operations=lambda services: routes.operations(services[Commands]),
    ids={"command_id": "cmd", "grant_id": "grant"},
    tables=(Table("commands", grows=True),),
)
