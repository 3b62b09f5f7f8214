"""Everything that touches updates, at once and in any order: a device has one offer, and each ends once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from lapel.slices.firmware.payloads import RolloutJob
from lapel.slices.firmware.rollouts import rollout_queries
from lapel.slices.firmware.service import Firmware
from tests.firmware.support import Fleet, Json
from tests.support.locks import until_waiting
from tests.support.running import Running

SHORTEN = """
UPDATE ota_assignments SET deadline_at = assigned_at + interval '1 millisecond'
WHERE world_id = $1 AND device_id = $2 AND status IN ('pending', 'delivered')
"""
OPEN_TWICE = """
SELECT device_id FROM ota_assignments WHERE world_id = $1 AND status IN ('pending', 'delivered')
GROUP BY device_id HAVING count(*) > 1
"""
LOCKED = """
SELECT device_id FROM ota_assignments WHERE world_id = $1 EXCEPT
SELECT device_id FROM (SELECT device_id FROM ota_assignments WHERE world_id = $1 FOR UPDATE SKIP LOCKED) free
"""
ENDS = {"ota.applied", "ota.failed"}


@dataclass
class Tumult:
    """Devices, the operator and the workers, none of whom waits for another."""

    fleet: Fleet
    live: Running
    dice: random.Random
    devices: list[str]
    releases: list[Json]
    rollouts: list[Json]

    async def call(self, method: str, path: str, json: object = None) -> Json:
        """An answer that may refuse, but not fail."""
        answer = await self.fleet.client.request(method, path, json=json, headers=self.fleet.tenant.headers)
        assert answer.status_code < 500, answer.text
        return answer.json() if answer.content else {}

    def device(self) -> str:
        return f"/v1/devices/{self.dice.choice(self.devices)}"

    async def beat(self) -> None:
        """A device hears of its update and tells of its end, twice."""
        path = f"{self.device()}/heartbeat"
        offer = (await self.call("POST", path, {"firmware_version": "0.9"}))["ota"]
        if offer is None or self.dice.random() < 0.3:
            return
        told: dict[str, Any] = {"firmware_version": offer["version"]}
        if self.dice.random() < 0.5:
            told = {"ota_result": {"assignment_id": offer["assignment_id"], "status": "failed"}}
        await asyncio.gather(*(self.call("POST", path, told) for _ in range(2)))

    async def assign(self) -> None:
        await self.call(
            "POST", f"{self.device()}/ota", {"firmware_release_id": self.dice.choice(self.releases)["id"]}
        )

    async def take_back(self) -> None:
        await self.call("DELETE", f"{self.device()}/ota")

    async def turn(self) -> None:
        """The newest rollout is paused or resumed."""
        newest = self.rollouts[-1]
        path = f"/v1/firmware-releases/{newest['firmware_release_id']}/rollouts/{newest['id']}"
        await self.call("POST", f"{path}/{self.dice.choice(['pause', 'resume', 'resume'])}")

    async def replace(self) -> None:
        """Another rollout begins."""
        release = self.dice.choice(self.releases)
        path = f"/v1/firmware-releases/{release['id']}/rollouts"
        made = await self.call("POST", path, {"model": release["model"], "max_failure_rate": 1})
        if "id" in made:
            self.rollouts.append(made)

    async def work(self) -> None:
        """A worker has a job of the newest rollout or the one before."""
        rollouts = self.live.services[Firmware].rollouts
        job = RolloutJob(self.fleet.tenant.test_world, self.dice.choice(self.rollouts[-2:])["id"])
        await self.dice.choice([rollouts.advance, rollouts.withdraw])(job)

    async def end_late(self) -> None:
        """A deadline passes, and is swept."""
        async with self.fleet.ports.database.acquire() as connection:
            device_id = self.dice.choice(self.devices)
            await connection.execute(SHORTEN, self.fleet.tenant.test_world, device_id)
        await self.live.services[Firmware].sweeps.end_late()

    async def some(self, steps: int) -> None:
        """One of those who do something all the time."""
        doing = (self.beat, self.assign, self.take_back, self.turn, self.replace, self.work, self.end_late)
        for each in self.dice.choices(doing, weights=(10, 3, 1, 3, 1, 6, 2), k=steps):
            await each()

    async def ended(self) -> Counter[tuple[str, str]]:
        """(kind, id) of every update in the devices' histories."""
        found: Counter[tuple[str, str]] = Counter()
        for device in self.devices:
            history = await self.fleet.call("GET", f"/v1/devices/{device}/ota/history", 200, limit="100")
            assert len(history["data"]) < 100  # all there are
            found.update((f"ota.{each['status']}", each["id"]) for each in history["data"])
        return found


async def test_whatever_happens_at_once_each_update_ends_once(fleet: Fleet, live: Running) -> None:
    devices = await fleet.devices(8)
    releases = [await fleet.released(version=f"2.{number}") for number in range(3)]
    rollouts = [await fleet.roll_out(releases[0], max_failure_rate=1)]
    tumult = Tumult(fleet, live, random.Random(7), devices, releases, rollouts)
    await asyncio.gather(*(tumult.some(60) for _ in range(8)))
    await live.services[Firmware].sweeps.end_late()
    async with fleet.ports.database.acquire() as connection:
        assert await connection.fetch(OPEN_TWICE, fleet.tenant.test_world) == []
    ended = await tumult.ended()
    assert set(ended.values()) == {1}
    assert {kind for kind, _ in ended} >= {*ENDS, "ota.cancelled"}
    told = Counter((kind, str(data["id"])) for kind, data in await fleet.events())
    assert told == Counter(key for key in ended if key[0] in ENDS)


async def test_who_waits_for_a_rollout_holds_no_offers_meanwhile(fleet: Fleet, live: Running) -> None:
    """Else each heartbeat of their devices would wait as well."""
    await fleet.devices(3)
    made = await fleet.roll_out(await fleet.released())
    world, rollouts = fleet.tenant.test_world, live.services[Firmware].rollouts
    job = RolloutJob(world, made["id"])
    await rollouts.advance(job)
    await fleet.rollout(made, "/pause")
    async with fleet.ports.database.transaction() as connection:
        assert await rollout_queries.lock(connection, world, made["id"])
        withdrawing = asyncio.create_task(rollouts.withdraw(job))
        await until_waiting(fleet.ports, 1)
        assert await connection.fetch(LOCKED, world) == []
    await withdrawing
    assert (await fleet.rollout(made))["counts"]["cancelled"] == 3


@pytest.mark.parametrize("then", ["resume", "pause"])
async def test_who_meets_the_opposite_comes_after_it(fleet: Fleet, then: str) -> None:
    """And is not told of what is under way as of an end."""
    made = await fleet.roll_out(await fleet.released())
    first = rollout_queries.pause
    if then == "pause":
        await fleet.rollout(made, "/pause")
        first = rollout_queries.resume
    async with fleet.ports.database.transaction() as connection:
        assert await first(
            connection,
            fleet.tenant.test_world,
            made["firmware_release_id"],
            made["id"],
            fleet.ports.clock.now(),
        )
        second = asyncio.create_task(fleet.rollout(made, f"/{then}"))
        await until_waiting(fleet.ports, 1)
    expected = "running" if then == "resume" else "paused"
    assert (await second)["status"] == expected
    assert (await fleet.rollout(made))["status"] == expected
