"""A whole simulation: makes the devices, runs them, checks the server's promises, and removes the devices."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from random import Random
from typing import TypeVar

import aiohttp

from lapel.simulate.backend import Backend
from lapel.simulate.client.caller import Caller, CallFailed, SimulationError
from lapel.simulate.client.meter import Histogram, Meter
from lapel.simulate.device.device import Activity, SimulatedDevice, schedule
from lapel.simulate.journal import Entry, Journal
from lapel.simulate.life import Life
from lapel.simulate.oracle import Oracle, OracleVerdict
from lapel.simulate.phone.sealed_uploads import SealedCounts, SealedUploads
from lapel.simulate.phone.strict_caller import StrictCaller
from lapel.simulate.plan import FleetPlan
from lapel.simulate.report import FleetReport, report_of
from lapel.simulate.sealing.sealing_device import Provisioning

T = TypeVar("T")
_LONGEST_NAP = 0.05  # seconds between two checks for an activity that was scheduled earlier
_QUIET_DEVICES = 1000  # number of devices with an empty journal that are checked at the end


class Fleet:
    """One simulation against a running server.

    `phase`: the current phase. `done`: how many items of this phase are done. `kept`: how many promises are
    checked and kept so far; None before the check.
    """

    def __init__(
        self,
        plan: FleetPlan,
        base_url: str,
        key: str,
        stop: asyncio.Event,
        provisioning: Provisioning | None = None,
    ) -> None:
        """`key`: an API key with the scopes of `backend.SCOPES`. `stop`: ends the fleet's life early.

        `provisioning`: with it, devices encrypt what they upload.
        """
        self.plan = plan
        self.meter = Meter()
        self.phase = "starting"
        self.done = 0
        self.kept: int | None = None
        self._lived = 0.0
        self._base_url = base_url
        self._key = key
        self._stop = stop
        self._provisioning = provisioning
        self._devices = [
            SimulatedDevice(number, f"SIM{plan.run}{number:06d}") for number in range(plan.devices)
        ]
        self._heap: list[tuple[float, int]] = []
        self._began = 0.0

    async def run(self) -> FleetReport:
        """Runs the whole simulation.

        Raises SimulationError when the devices cannot be made.
        """
        dice = Random(self.plan.seed)  # noqa: S311
        connector = aiohttp.TCPConnector(limit=self.plan.connections, limit_per_host=0)
        with tempfile.TemporaryDirectory(prefix="lapel-simulate-") as folder:
            journal = Journal(Path(folder) / "journal")
            try:
                async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
                    caller = Caller(session, self._base_url, self.meter, dice, self.plan.drop)
                    backend = Backend(caller, self._key, self.plan)
                    # Calls that compare and remove at the end are not measured.
                    calm = Caller(session, self._base_url, Meter(), dice, 0)
                    sealed: SealedUploads | None = None
                    if self._provisioning is not None:
                        phones = StrictCaller(session, self._base_url, self.meter, dice, self.plan.drop)
                        sealed = SealedUploads(
                            phones, backend, self.plan, self.meter, journal, self._provisioning
                        )
                    return await self._run(backend, journal, calm, sealed)
            finally:
                journal.close()

    @property
    def elapsed(self) -> float:
        """Seconds of real time that the fleet has lived; 0 before it lives."""
        return self._lived or (time.monotonic() - self._began if self._began else 0.0)

    async def _run(
        self, backend: Backend, journal: Journal, calm: Caller, sealed: SealedUploads | None
    ) -> FleetReport:
        verdict = OracleVerdict()
        copies: SealedCounts | None = None
        left_behind = True
        try:
            await self._make(backend, Random(self.plan.seed))  # noqa: S311
            await self._live(Life(backend.caller, backend, self.plan, self.meter, journal, sealed))
            if sealed is not None:
                copies = sealed.count_copies(self._devices)
            backend.caller = calm
            verdict = await self._judge(backend, journal)
        finally:
            backend.caller = calm
            if not self.plan.keep:
                left_behind = not await self._remove(backend)
        self.phase = "done"
        return report_of(
            self.plan,
            self.meter,
            verdict,
            sealed=copies,
            sessions=[] if sealed is None else sealed.sessions,
            seconds=self._lived,
            ended_early=self._stop.is_set(),
            left_behind=left_behind,
        )

    async def _make(self, backend: Backend, dice: Random) -> None:
        self._begin("registering")

        async def one(device: SimulatedDevice) -> None:
            await backend.register(device)
            await backend.bind(device, device.index % self.plan.people)
            schedule(self.plan, device)

        try:
            await self._each(range(self.plan.people), backend.make_end_user, stoppable=True)
            await self._each(self._devices, one, stoppable=True)
            if any(device.due[Activity.OFFER] != float("inf") for device in self._devices if device.due):
                await backend.make_firmware(dice)
        except CallFailed as fault:
            raise SimulationError(f"the fleet cannot be made: {fault}") from fault

    async def _live(self, life: Life) -> None:
        """Runs the devices' activities when they are due, for at most `connections` devices at once."""
        self._begin("living")
        self.meter.total = Histogram()
        self._heap = [(min(device.due), device.index) for device in self._devices if device.token]
        heapq.heapify(self._heap)
        slots = asyncio.Semaphore(self.plan.connections)
        self._began = time.monotonic()
        end = self._began + self.plan.minutes * 60
        async with asyncio.TaskGroup() as group:
            while not self._stop.is_set() and (now := time.monotonic()) < end:
                wait = (self._heap[0][0] - self._now()) / self.plan.speed if self._heap else _LONGEST_NAP
                if wait > 0:
                    await asyncio.sleep(min(wait, _LONGEST_NAP, end - now))
                    continue
                await slots.acquire()
                due, index = heapq.heappop(self._heap)
                group.create_task(self._step(life, self._devices[index], due, slots))
        self._lived = time.monotonic() - self._began

    async def _step(self, life: Life, device: SimulatedDevice, due: float, slots: asyncio.Semaphore) -> None:
        try:
            self.meter.late.add(max(0.0, self._now() - due) / self.plan.speed * 1000)
            await life.step(device, self._now())
            heapq.heappush(self._heap, (min(device.due), device.index))
        finally:
            slots.release()

    def _now(self) -> float:
        """Simulated time, in seconds since the fleet began to live."""
        return (time.monotonic() - self._began) * self.plan.speed

    async def _judge(self, backend: Backend, journal: Journal) -> OracleVerdict:
        self._begin("comparing promised with kept")
        entries: defaultdict[int, list[Entry]] = defaultdict(list)
        for entry in journal.read():
            entries[entry.device].append(entry)
        oracle = Oracle(backend)
        quiet = (each for each in self._devices if each.id and each.index not in entries)
        # Make the list before `one` removes entries: a device that was judged must not count as quiet.
        asked = [self._devices[index] for index in entries] + list(itertools.islice(quiet, _QUIET_DEVICES))

        async def one(device: SimulatedDevice) -> None:
            await oracle.judge(device, entries.pop(device.index, ()))
            self.kept = oracle.verdict.kept

        await self._each(asked, one)
        return oracle.verdict

    async def _remove(self, backend: Backend) -> bool:
        """Removes everything that was made; False when a removal failed. The server erases data later."""
        self._begin("removing")
        failed = 0

        async def quietly(removal: Awaitable[None]) -> None:
            nonlocal failed
            try:
                await removal
            except CallFailed:
                failed += 1

        await self._each(backend.people, lambda number: quietly(backend.remove_end_user(number)))
        made = (device for device in self._devices if device.id)
        await self._each(made, lambda device: quietly(backend.remove(device)))
        return failed == 0

    def _begin(self, phase: str) -> None:
        self.phase, self.done = phase, 0

    async def _each(
        self, items: Iterable[T], work: Callable[[T], Awaitable[None]], *, stoppable: bool = False
    ) -> None:
        """Runs `work` for each item, `connections` items at a time. Raises the first error of any item."""
        rest = iter(items)

        async def worker() -> None:
            for item in rest:
                if stoppable and self._stop.is_set():
                    return
                await work(item)
                self.done += 1

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.plan.connections):
                    group.create_task(worker())
        except ExceptionGroup as several:
            raise several.exceptions[0] from several
