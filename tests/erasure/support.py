"""What tests of erasure do: run the worker's rounds and jobs at once, and look at ledger and store."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from lapel import app
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.ports import Ports
from lapel.slices.erasure.service import Erasures
from lapel.slices.recordings.payloads import EraseReleased
from lapel.slices.recordings.service import Recordings
from tests.recordings.support import Device, objects, staging

WORDS = b"to be forgotten" * 200
# After the end of the last upload URL and the margin.
MORE_THAN_MARGIN = timedelta(minutes=76)
UNSETTLED = "SELECT world_id, id FROM holds WHERE released_at IS NOT NULL AND settled_at IS NULL"
REASON = {"reason": "Case 2027-114"}
ROWS = """
SELECT (SELECT count(*) FROM recordings WHERE world_id = $1 AND id = $2)
     + (SELECT count(*) FROM media WHERE world_id = $1 AND recording_id = $2)
"""


async def hold(device: Device, path: str, expect: int = 201) -> dict[str, Any]:
    """Place a hold on a resource."""
    return await device.post(f"/v1/{path}/hold", expect, REASON)


async def rows(device: Device, ports: Ports, recording_id: str) -> int:
    """How many rows of a recording and its media there are."""
    async with ports.database.acquire() as connection:
        return await connection.fetchval(ROWS, device.tenant.test_world, recording_id)


def rounds(ports: Ports, by: timedelta) -> Erasures:
    """The erasures as they will be run after some time."""
    return Erasures(replace(ports, clock=ManualClock(ports.clock.now() + by)))


async def entry(device: Device, resource_id: str) -> dict[str, Any]:
    """The ledger's entry of a resource."""
    page = await device.call("GET", f"/v1/erasures?resource_id={resource_id}", 200)
    return page["data"][0]


async def everything(device: Device, ports: Ports, recording_id: str) -> list[str]:
    """The keys of all objects of a recording."""
    project = device.tenant.project_id
    return [
        *await objects(ports, staging(device, recording_id)),
        *await objects(ports, f"media/{project}/{recording_id}/"),
        *await objects(ports, f"sealed/{project}/{recording_id}/"),
    ]


async def erase_released(ports: Ports) -> None:
    """Runs the jobs of all released holds at once."""
    async with ports.database.acquire() as connection:
        found = await connection.fetch(UNSETTLED)
    for row in found:
        await app.open_services(ports)[Recordings].holds.erase_released(EraseReleased(*row))
