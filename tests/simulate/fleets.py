"""Whole simulations against a running server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from lapel.simulate.client.meter import Meter
from lapel.simulate.fleet import Fleet
from lapel.simulate.plan import FleetPlan
from lapel.simulate.report import FleetReport
from lapel.simulate.sealing.sealing_device import Provisioning
from tests.support.patience import patience
from tests.support.running import Running

_USUAL: dict[str, Any] = {
    "devices": 12,
    "minutes": 0.05,
    "interval": 60,
    "speed": 120,
    "seed": 6,
    "drop": 0,
    "updates": 0.5,
}


async def simulated(live: Running, key: str, run: str, **changes: Any) -> FleetReport:
    """A simulation to its end."""
    plan = FleetPlan(run=run, **{**_USUAL, **changes})
    return await Fleet(plan, live.url, key, asyncio.Event()).run()


async def ended(
    live: Running,
    key: str,
    run: str,
    enough: Callable[[Meter], bool],
    provisioning: Provisioning | None = None,
    **changes: Any,
) -> FleetReport:
    """A simulation that is ended as soon as enough has happened, however slow the machine is.

    Raises AssertionError when nothing has happened for a minute.
    """
    stop = asyncio.Event()
    plan = FleetPlan(run=run, **{**_USUAL, **changes, "minutes": 60})
    fleet = Fleet(plan, live.url, key, stop, provisioning)
    task = asyncio.create_task(fleet.run())
    try:
        async with patience(60, lambda: (fleet.meter.total.count, fleet.meter.repeats.total())):
            while not enough(fleet.meter) and not task.done():  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not enough happened: {fleet.meter.counts}") from None
    finally:
        stop.set()
        report = await task
    return report
