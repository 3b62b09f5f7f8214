"""The slice of heartbeats, as data."""

from __future__ import annotations

from lapel.foundation.slices import Services, Slice, Table
from lapel.slices.commands.service import Commands
from lapel.slices.devices.service import Devices
from lapel.slices.firmware.service import Firmware
from lapel.slices.heartbeats import jobs, routes
from lapel.slices.heartbeats.service import Heartbeats


def _build(services: Services) -> tuple[Heartbeats]:
    return (Heartbeats(services.ports, services[Devices], services[Commands], services[Firmware]),)


_CRASH_POINTS = ("heartbeat:stored", "heartbeat:delivered", "heartbeat:low-battery", "heartbeat:silent")

SLICE = Slice(
    name="heartbeats",
    build=_build,
    operations=lambda services: routes.operations(services[Heartbeats]),
    schedules=lambda services: jobs.schedules(services[Heartbeats]),
    tables=(Table("device_diagnostics", grows=True),),
    crash_points=_CRASH_POINTS,
)
