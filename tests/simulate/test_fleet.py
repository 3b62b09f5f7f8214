"""Whole simulations against a real server: everything is kept, under losses, limits and slow checks too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from rich.console import Console

from lapel.simulate.backend import SCOPES
from lapel.simulate.client.caller import SimulationError
from lapel.simulate.client.meter import Meter
from lapel.simulate.device.device import SimulatedDevice
from lapel.simulate.journal import Entry
from lapel.simulate.oracle import Oracle
from lapel.simulate.plan import NOTHING
from lapel.simulate.report import Latency, shown_of
from tests.simulate.fleets import ended, simulated
from tests.support.running import Running, running, working
from tests.support.tenants import Tenant, bearer, make_key, make_tenant

_EVERYTHING = (
    "heartbeats",
    "uploads promised",
    "commands acknowledged",
    "updates applied",
    "diagnostics accepted",
    "tokens refreshed",
    "devices rebound",
    "spells",
)


async def rows(client: httpx.AsyncClient, tenant: Tenant, path: str) -> list[dict[str, Any]]:
    answer = await client.get(path, headers=bearer(tenant.test_key), params={"limit": 100})
    return answer.json()["data"]


async def test_a_fleet_does_everything_and_finds_everything_kept(
    live: Running, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    key = await make_key(live.ports, tenant.test_world, "rk_test", scopes=SCOPES)
    report = await ended(live, key, "whole", lambda meter: all(meter.counts[each] for each in _EVERYTHING))
    assert report.findings == []
    assert report.broken == {}
    assert report.errors == {}
    assert report.uploads.promised == report.uploads.kept > 0
    assert (report.uploads.lost, report.uploads.duplicated) == (0, 0)
    assert 0 < report.commands.acknowledged <= report.commands.executed <= report.commands.sent
    assert report.ota.offered >= report.ota.applied > 0
    assert report.diagnostics.made >= report.diagnostics.accepted > 0
    assert report.ended_early
    assert report.p50 is not None
    assert report.p99 is not None
    assert report.p50 <= report.p99
    assert not report.left_behind
    assert await rows(client, tenant, "/v1/devices") == []
    assert await rows(client, tenant, "/v1/end-users") == []
    assert await rows(client, tenant, "/v1/recordings") == []
    console = Console()
    with console.capture() as shown:
        console.print(shown_of(report))
    assert "✓ everything that was promised was kept" in shown.get()
    never = Latency(0, None, None, None)
    with console.capture() as shown:
        console.print(shown_of(msgspec.structs.replace(report, p50=None, p95=None, p99=None, late=never)))
    assert "no call" in shown.get()
    assert "None" not in shown.get()


async def test_what_is_lost_on_the_way_is_repeated_and_kept(live: Running, tenant: Tenant) -> None:
    def enough(meter: Meter) -> bool:
        return meter.repeats["answer dropped"] > 60 and meter.counts["uploads promised"] > 5

    report = await ended(live, tenant.test_key, "lossy", enough, drop=0.3)
    assert report.findings == []
    assert report.uploads.promised == report.uploads.kept > 5


@pytest.mark.deep
async def test_a_slow_check_and_a_limit_are_waited_for(
    fresh_database: str, data_folder: Callable[[str], Path]
) -> None:
    """425 while the worker hashes, 429 from the project's bucket: both are obeyed."""
    limits: dict[str, Any] = {
        "LAPEL_INLINE_HASH_BYTES": "1024",
        "LAPEL_RATE_LIMITS": "on",
        "LAPEL_RATE_PER_SECOND": "6",
        "LAPEL_DEVICE_PER_MINUTE": "0",
    }

    def enough(meter: Meter) -> bool:
        return bool(meter.repeats["429"] and meter.repeats["425"] and meter.counts["uploads promised"])

    async with running(data_folder("limited"), fresh_database, **limits) as limited, working(limited):
        tenant = await make_tenant(limited.ports)
        report = await ended(limited, tenant.test_key, "limited", enough, devices=6, updates=0)
    assert report.findings == []
    assert report.uploads.promised == report.uploads.kept > 0


async def test_each_device_is_judged_once(
    live: Running, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, judged = Oracle.judge, Counter[int]()

    async def counted(oracle: Oracle, device: SimulatedDevice, entries: Iterable[Entry]) -> None:
        judged[device.index] += 1
        await judge(oracle, device, entries)

    monkeypatch.setattr(Oracle, "judge", counted)
    await ended(live, tenant.test_key, "judged", lambda meter: meter.counts["commands sent"] > 0, devices=6)
    assert judged == Counter(range(6))


@pytest.mark.deep
async def test_heartbeats_alone_and_kept_in_place(
    live: Running, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    report = await simulated(
        live, tenant.test_key, "beats", rates=NOTHING, updates=0, devices=20, speed=60, keep=True
    )
    assert report.findings == []
    assert set(report.calls) == {"end user", "register", "bind", "heartbeat"}
    # 3 seconds on the clock are 180 of the devices', so each was heard about three times, or fewer.
    assert 20 <= report.heartbeats <= 80
    assert report.left_behind
    assert len(await rows(client, tenant, "/v1/devices")) == 20


async def test_a_key_that_may_not_is_told(live: Running, tenant: Tenant) -> None:
    key = await make_key(live.ports, tenant.test_world, "rk_test", scopes=("devices:read",))
    with pytest.raises(SimulationError, match="end_users:write"):
        await simulated(live, key, "refused")
