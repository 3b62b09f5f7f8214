"""What tests of retention do over and over: rules, time that has passed, and the preview."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from lapel import app
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.ports import Ports
from lapel.slices.recordings.service import Recordings
from lapel.slices.retention.service import Retention
from tests.recordings.support import Device, Json

DAY = timedelta(days=1)


def after(ports: Ports, by: timedelta, **options: Any) -> Retention:
    """The service as it will be after some time."""
    in_time = replace(ports, clock=ManualClock(ports.clock.now() + by))
    # With the hooks of other slices, as a worker has them.
    recordings = app.open_services(in_time)[Recordings]
    return Retention(in_time, recordings, **options)


async def keep(device: Device, path: str = "/v1/config", **days: int | None) -> None:
    """Set `recordings_days` and `audio_days`."""
    await device.call("PATCH", f"{path}/retention", 200, days)


async def preview(device: Device, ports: Ports, by: timedelta, **query: str | int) -> Json:
    """The preview until some time from now."""
    before = (ports.clock.now() + by).isoformat().replace("+00:00", "Z")
    given = "".join(f"&{name}={value}" for name, value in query.items())
    return await device.call("GET", f"/v1/retention/preview?before={before}{given}", 200)


def path_of(resource_id: str) -> str:
    """Where the hold of a recording or an end user is."""
    kind = "recordings" if resource_id.startswith("rec_") else "end-users"
    return f"/v1/{kind}/{resource_id}/hold"


async def hold(device: Device, resource_id: str) -> None:
    """A legal hold on a recording or an end user."""
    await device.post(path_of(resource_id), 201, {"reason": "a case"})


async def release(device: Device, resource_id: str) -> None:
    """The release of a hold."""
    await device.call("DELETE", path_of(resource_id), 204)


async def ledger(device: Device) -> list[Json]:
    """The entries of the ledger, newest first."""
    return (await device.call("GET", "/v1/erasures", 200))["data"]
