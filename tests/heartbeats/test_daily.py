"""A device may add so much to its diagnostics in a day, and no more; the heartbeat is taken all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lapel.foundation.core.clock import ManualClock
from tests.heartbeats.support import Timed, Worn, worn
from tests.support.client import api_client
from tests.support.running import running
from tests.support.tenants import make_tenant

# Each event counts as its text and 128 bytes: here 200 together, so five go into a day.
DAILY = 1000


def event(number: int) -> dict[str, Any]:
    """One of 72 bytes as the API writes it."""
    return {"event_id": f"{number:016x}", "text": "x" * 31}


@pytest.fixture
async def bounded(fresh_database: str, tmp_path: Path) -> AsyncGenerator[Timed]:
    """A device of a server that takes 1,000 bytes a day, at noon."""
    clock = ManualClock(datetime(2026, 1, 15, 12, tzinfo=UTC))
    settings: dict[str, Any] = {"LAPEL_DIAGNOSTICS_BYTES_PER_DAY": str(DAILY)}
    async with (
        running(tmp_path, fresh_database, clock=clock, **settings) as live,
        api_client(live.url) as client,
    ):
        yield Timed(await worn(client, live.ports, await make_tenant(live.ports)), clock, live)


async def send(device: Worn, *numbers: int) -> list[int]:
    """The numbers of the events that are accepted."""
    answer = await device.beat(battery_percent=50, diagnostics={"events": [event(each) for each in numbers]})
    return [int(each, 16) for each in answer["accepted_event_ids"]]


async def test_what_is_too_much_for_a_day_stays_with_the_device(bounded: Timed) -> None:
    device = bounded.device
    for _ in range(3):  # a repeat adds nothing, and so counts nothing
        assert await send(device, 1, 2, 3) == [1, 2, 3]
    assert await send(device, 4, 5, 6) == []
    assert await send(device, 4, 5) == [4, 5]  # exactly full
    assert await send(device, 6) == []
    assert (await device.row())["battery_percent"] == 50
    assert len(await device.diagnostics()) == 5
    # What is stored is acknowledged, whatever came with it: the device may forget that.
    assert await send(device, 6, 3, 7, 1) == [3, 1]
    await bounded.after(hours=11, minutes=59)
    assert await send(device, 6) == []
    await bounded.after(minutes=1)
    assert await send(device, 6, 7) == [6, 7]
    assert len(await device.diagnostics()) == 7


async def test_the_bound_is_each_devices_own_and_holds_for_keys_and_new_bindings(bounded: Timed) -> None:
    device = bounded.device
    other = await worn(device.client, device.ports, device.tenant, "BEAT0002")
    assert await send(device, 1, 2, 3, 4, 5) == [1, 2, 3, 4, 5]
    assert await send(other, 1, 2, 3, 4, 5) == [1, 2, 3, 4, 5]
    await device.post("/unbind")
    body = {"diagnostics": {"events": [event(6)]}}
    told = await device.send(body, token=device.tenant.test_key, device_id=device.id)
    assert (told.status_code, told.json()["accepted_event_ids"]) == (200, [])
    await device.bind()
    assert await send(device, 6) == []


async def test_heartbeats_at_once_do_not_exceed_it(bounded: Timed) -> None:
    device = bounded.device
    accepted = await asyncio.gather(*(send(device, number) for number in range(12)))
    assert sum(map(len, accepted)) == 5
    assert len(await device.diagnostics()) == 5


async def test_a_recording_device_without_events_is_not_counted(bounded: Timed) -> None:
    device = bounded.device
    for _ in range(3):
        await device.beat(device_state="recording")
    assert await send(device, 1, 2, 3, 4, 5) == [1, 2, 3, 4, 5]
    assert (await device.beat(device_state="recording"))["accepted_event_ids"] == []
    assert (await device.shown("/state"))["recording"]["active"] is True
