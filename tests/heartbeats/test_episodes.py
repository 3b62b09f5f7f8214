"""Low batteries and silences are told once each."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from lapel.slices.heartbeats import service
from lapel.slices.heartbeats.service import Heartbeats
from tests.heartbeats.support import Timed, Worn, worn
from tests.support.tenants import make_tenant


async def test_low_battery_is_told_once_until_it_was_charged(device: Worn) -> None:
    for percent in (40, 15, 14, 3, 14, 19, 14):
        await device.beat(battery_percent=percent)
    await device.beat()
    (event,) = await device.events("device.low_battery")
    assert event["type"] == "device.low_battery"
    assert event["data"]["battery_percent"] == event["data"]["device"]["battery_percent"] == 14
    assert event["data"]["id"] == device.id
    assert event["data"]["device"] == {k: v for k, v in event["data"].items() if k != "device"}

    await device.beat(battery_percent=20)
    assert (await device.row())["low_battery_since"] is None
    await device.beat(battery_percent=14)
    assert len(await device.events("device.low_battery")) == 2


async def test_of_many_low_heartbeats_at_once_one_is_told(device: Worn) -> None:
    await asyncio.gather(*(device.beat(battery_percent=5) for _ in range(8)))
    assert len(await device.events("device.low_battery")) == 1


async def test_a_key_tells_of_low_batteries_too(device: Worn) -> None:
    await device.send({"battery_percent": 1}, token=device.tenant.test_key, device_id=device.id)
    assert len(await device.events("device.low_battery")) == 1


async def test_a_silence_of_fifteen_minutes_is_told_once(timed: Timed) -> None:
    device = timed.device
    await device.beat(battery_percent=50)
    assert await timed.after(minutes=14, seconds=59) == 0
    assert (await device.shown("/state"))["online"] is True
    assert await timed.after(seconds=1) == 1
    assert (await device.shown("/state"))["online"] is False
    for _ in range(3):
        assert await timed.after(minutes=30) == 0
    (event,) = await device.events("device.offline")
    assert event["data"]["id"] == device.id
    assert event["data"]["last_heartbeat_at"] is not None

    await device.beat()
    assert (await device.row())["offline_since"] is None
    assert await timed.after(minutes=15) == 1
    assert len(await device.events("device.offline")) == 2


async def test_one_that_is_heard_in_time_is_never_silent(timed: Timed) -> None:
    for _ in range(30):
        await timed.device.beat()
        assert await timed.after(minutes=7) == 0
        assert await timed.after(minutes=7) == 0
    assert await timed.device.events("device.offline") == []


async def test_only_worn_devices_that_were_heard_go_offline(timed: Timed) -> None:
    device = timed.device
    assert await timed.after(days=1) == 0  # never heard
    await device.beat()
    await device.post("/unbind")
    assert await timed.after(days=1) == 0
    key = {"token": device.tenant.test_key, "device_id": device.id}
    assert (await device.send({}, **key)).status_code == 200
    assert await timed.after(days=1) == 0
    await device.bind()
    assert await timed.after(days=1) == 0  # what was heard was heard before
    await device.beat()
    assert await timed.after(minutes=15) == 1


async def test_silences_of_many_projects_are_told_in_batches(
    timed: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_SWEEP", 3)
    one = timed.device
    elsewhere = await make_tenant(one.ports)
    devices = [one] + [
        await worn(one.client, one.ports, elsewhere if number % 2 else one.tenant, f"MANY{number:04}")
        for number in range(6)
    ]
    for device in devices:
        await device.beat()
    assert await timed.after(minutes=15) == 7
    for device in devices:
        (event,) = await device.events("device.offline")
        assert event["data"]["project_id"] == device.tenant.project_id


async def test_sweeps_at_the_same_time_tell_it_once(timed: Timed) -> None:
    await timed.device.beat()
    timed.clock.advance(timedelta(minutes=20))
    found = await asyncio.gather(*(timed.live.services[Heartbeats].sweep() for _ in range(4)))
    assert sum(found) == 1
    assert len(await timed.device.events("device.offline")) == 1


async def test_a_heartbeat_that_meets_the_sweep_keeps_the_device_online(timed: Timed) -> None:
    device = timed.device
    await device.beat()
    timed.clock.advance(timedelta(minutes=20))
    await asyncio.gather(device.beat(), timed.live.services[Heartbeats].sweep())
    row = await device.row()
    assert row["offline_since"] is None  # whichever came first, the heartbeat ends it
    assert len(await device.events("device.offline")) <= 1


HOLD_EVENT = "SELECT 1 FROM device_diagnostics WHERE world_id = $1 AND event_id = $2 FOR UPDATE"


async def test_who_erases_a_wearers_diagnostics_is_not_waited_for(timed: Timed) -> None:
    """Each could hold what the other wants next."""
    device = timed.device
    await device.beat(diagnostics={"events": [{"event_id": f"{number:016x}"} for number in range(20)]})
    timed.clock.advance(service.DIAGNOSTICS_KEPT + timedelta(hours=1))
    async with device.ports.database.transaction() as connection:
        await connection.execute(HOLD_EVENT, device.tenant.test_world, f"{7:016x}")
        assert await timed.live.services[Heartbeats].prune_diagnostics() == 19
    assert await timed.live.services[Heartbeats].prune_diagnostics() == 1


async def test_diagnostics_go_after_ninety_days(timed: Timed) -> None:
    device = timed.device
    await device.beat(diagnostics={"events": [{"event_id": f"{number:016x}"} for number in range(200)]})
    timed.clock.advance(timedelta(days=1))
    await device.beat(diagnostics={"events": [{"event_id": "f" * 16}]})
    timed.clock.advance(service.DIAGNOSTICS_KEPT - timedelta(hours=1))
    assert await timed.live.services[Heartbeats].prune_diagnostics() == 200
    assert [each[0] for each in await device.diagnostics()] == ["f" * 16]
    # An event that was stored once may be told again, and is taken.
    answer = await device.beat(diagnostics={"events": [{"event_id": "0" * 16}]})
    assert answer["accepted_event_ids"] == ["0" * 16]
