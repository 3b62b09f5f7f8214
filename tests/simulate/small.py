"""One device of a simulation, driven step by step against a real server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import aiohttp

from lapel.simulate.backend import Backend
from lapel.simulate.client.caller import Caller
from lapel.simulate.client.meter import Meter
from lapel.simulate.device.device import Activity, SimulatedDevice, schedule
from lapel.simulate.journal import Journal
from lapel.simulate.life import Life
from lapel.simulate.oracle import Oracle, OracleVerdict
from lapel.simulate.plan import FleetPlan


@dataclass(slots=True)
class Small:
    """A simulation of one device. `now` is the device's time."""

    device: SimulatedDevice
    life: Life
    backend: Backend
    journal: Journal
    meter: Meter
    now: float = 0

    async def do(self, activity: Activity) -> None:
        """That activity, now."""
        self.now += 1
        self.device.due[activity] = 0
        assert self.device.next == activity
        await self.life.step(self.device, self.now)

    async def upload(self) -> None:
        """Record, and upload to the end."""
        await self.do(Activity.RECORD)
        while self.device.pending:
            await self.do(Activity.UPLOAD)

    async def judge(self) -> OracleVerdict:
        """What the oracle says now."""
        oracle = Oracle(self.backend)
        await oracle.judge(self.device, self.journal.read())
        return oracle.verdict


@asynccontextmanager
async def small(url: str, key: str, folder: Path, run: str, drop: float = 0) -> AsyncGenerator[Small]:
    """A device that is registered, bound and due for nothing."""
    plan = FleetPlan(devices=2, minutes=60, run=run, seed=3, interval=60, speed=1, drop=drop, updates=1)
    meter, journal = Meter(), Journal(folder / "journal")
    try:
        async with aiohttp.ClientSession() as session:
            caller = Caller(session, url, meter, Random(3), drop)
            backend = Backend(caller, key, plan)
            device = SimulatedDevice(0, f"SIM{run}")
            await backend.make_end_user(0)
            await backend.make_end_user(1)
            await backend.register(device)
            await backend.bind(device, 0)
            schedule(plan, device)
            for activity in Activity:
                device.due[activity] = float("inf")
            yield Small(device, Life(caller, backend, plan, meter, journal), backend, journal, meter)
    finally:
        journal.close()
