"""Deliveries of one worker: beside a bare loop that signs and posts, and from commit to first attempt.

Run `python -m benchmarks.webhooks`. PostgreSQL, worker and receivers are processes of their own, all on this
machine. Each delivery is an event of its own, of about 1 KB.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from benchmarks.report import Row, show
from benchmarks.rig import Api, Rig, Server, free_port, rig
from lapel.foundation.core.clock import SystemClock
from lapel.foundation.core.ids import TimeOrderedIds
from lapel.foundation.database import outbox
from lapel.foundation.identity.seal import sealer
from lapel.slices.webhooks.signing_secrets import new_secret, sealed

if TYPE_CHECKING:
    import psutil

    from lapel.foundation.database.connection import Connection

BURST = 10_000
WEBHOOKS = 10
RATE = 1000
PACED_SECONDS = 10
BARE_SECONDS = 6.0
_LOOPBACK = {"LAPEL_OUTBOUND_NETWORKS": "127.0.0.0/8"}
_DATA = b'{"x":"%b"}' % (b"x" * 900)
_IDS = TimeOrderedIds(SystemClock())
_WEBHOOK = """
INSERT INTO webhooks (world_id, id, url, events, status, sealed_secret, created_at, updated_at)
VALUES ($1, $2, $3, ARRAY[$4], 'enabled', $5, now(), now())
"""
_FORGET = "DELETE FROM webhooks WHERE world_id = $1"
_LEFT = """
SELECT EXISTS (SELECT FROM events WHERE position IS NULL)
    OR EXISTS (SELECT FROM webhook_deliveries WHERE state = 'pending')
"""


def measure() -> list[Row]:
    """Rates of worker and bare loop in turn, then the lag at a steady rate, alone and beside others."""
    with rig() as made:
        api = made.lapel(made.database("hooks", 100))
        return asyncio.run(_Bench(made, api).rows())


@dataclass(frozen=True, slots=True)
class _Bench:
    rig: Rig
    api: Api

    async def rows(self) -> list[Row]:
        connection: Connection = await asyncpg.connect(str(self.api.settings.database_url))
        try:
            return [*await self._rates(connection), *await self._lags(connection)]
        finally:
            await connection.close()

    async def _rates(self, connection: Connection) -> list[Row]:
        """All events wait already when the worker starts; its start is not counted."""
        receiver = self.rig.receiver()
        types = await self._webhooks(connection, [receiver] * WEBHOOKS)
        worker = self.rig.worker(self.api, **_LOOPBACK)
        await self._burst(connection, receiver, types, 2000)  # warm
        ours, bare = [], []
        for _ in range(3):
            bare.append(await asyncio.to_thread(_bare, receiver))
            ours.append(await self._burst(connection, receiver, types, BURST, worker))
        rate, bare_rate = (statistics.median(each["rate"] for each in found) for found in (ours, bare))
        cpu, bare_cpu = (statistics.median(each["cpu_us"] for each in found) for found in (ours, bare))
        worker.terminate()
        await connection.execute(_FORGET, self.api.filled.world_id)
        how = f"3 rounds in turn, {BURST:,} events of 1 KB for {WEBHOOKS} webhooks"
        return [
            Row(
                "webhooks: bare loop that signs and posts",
                bare_rate,
                "/s",
                detail=f"{bare_cpu:.0f} us CPU each",
            ),
            Row(
                "webhooks: deliveries of one worker",
                rate,
                "/s",
                at_least=1500,
                detail=f"{how}; {cpu:.0f} us CPU each",
            ),
            Row(
                "webhooks: rate, of the bare loop",
                rate / bare_rate,
                at_least=0.6,
                detail=f"by CPU {bare_cpu / cpu:.2f} x",
            ),
        ]

    async def _burst(
        self,
        connection: Connection,
        receiver: Server,
        types: Sequence[str],
        count: int,
        worker: psutil.Process | None = None,
    ) -> dict[str, float]:
        """Seconds from the first arrival to the last outcome."""
        before = len(_seen(receiver))
        cpu = _cpu(worker)
        ids = await self._publish(connection, types, count)
        while await connection.fetchval(_LEFT):  # noqa: ASYNC110 - another process ends it
            await asyncio.sleep(0.02)
        ended = time.time()
        seen = _seen(receiver)
        assert len(seen) == before + count
        return {
            "rate": count / (ended - min(seen[each] for each in ids)),
            "cpu_us": (_cpu(worker) - cpu) / count * 1e6,
        }

    async def _lags(self, connection: Connection) -> list[Row]:
        """From commit to arrival at a steady rate: alone, then beside a dead and a slow webhook."""
        receiver, slow = self.rig.receiver(), self.rig.receiver(29.0)
        types = await self._webhooks(connection, [receiver] * WEBHOOKS)
        self.rig.worker(self.api, **_LOOPBACK)
        alone = await self._paced(connection, receiver, types)
        dead = Server("nobody", free_port(), receiver.process)
        others = await self._webhooks(connection, [slow, dead], first=WEBHOOKS)
        await self._publish(connection, others, 2000)
        await asyncio.sleep(2)
        beside = await self._paced(connection, receiver, types)
        return [
            Row(
                f"webhooks: commit to first attempt, p95 {name}",
                p95 * 1e3,
                "ms",
                at_most=250,
                detail=f"{rate:.0f} events/s for {PACED_SECONDS} s, p50 {p50 * 1e3:.0f} ms",
            )
            for name, (p50, p95, rate) in (("", alone), ("beside a dead and a slow webhook", beside))
        ]

    async def _paced(
        self, connection: Connection, receiver: Server, types: Sequence[str]
    ) -> tuple[float, float, float]:
        """p50 and p95 of the seconds from commit to arrival, and the events a second that were reached."""
        committed: dict[str, float] = {}
        began = time.monotonic()
        for number in range(RATE * PACED_SECONDS // 10):
            await asyncio.sleep(max(0.0, began + number * 10 / RATE - time.monotonic()))
            for event in await self._publish(connection, types, 10):
                committed[event] = time.time()
        rate = RATE * PACED_SECONDS / (time.monotonic() - began)
        await asyncio.sleep(3)
        seen = _seen(receiver)
        lags = sorted(seen[each] - at for each, at in committed.items())
        return statistics.median(lags), lags[int(len(lags) * 0.95)], rate

    async def _webhooks(
        self, connection: Connection, receivers: Sequence[Server], first: int = 0
    ) -> list[str]:
        """A webhook for each receiver, and the event type that it alone gets."""
        secret, settings = self.api.settings.secret or "", self.api.settings
        types: list[str] = []
        for number, receiver in enumerate(receivers, first):
            name, kind, world = _IDS.new("wh"), f"made.bench{number}", self.api.filled.world_id
            own = sealed(sealer(secret, settings.secret_previous), world, name, new_secret())
            await connection.execute(_WEBHOOK, world, name, f"http://127.0.0.1:{receiver.port}/", kind, own)
            types.append(kind)
        return types

    async def _publish(self, connection: Connection, types: Sequence[str], count: int) -> list[str]:
        """Events of the types in turn, each about a resource of its own."""
        made: list[str] = []
        world, now = self.api.filled.world_id, SystemClock().now()
        async with connection.transaction():
            for number in range(count):
                kind, resource = types[number % len(types)], _IDS.new("dev")
                made.append(
                    await outbox.publish(
                        connection, _IDS, now, world_id=world, type=kind, resource_id=resource, data=_DATA
                    )
                )
        return made


def _bare(receiver: Server) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.peers.bare_webhooks", f"http://127.0.0.1:{receiver.port}/"]
    done = subprocess.run([*command, str(BARE_SECONDS), "100"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _seen(receiver: Server) -> dict[str, float]:
    """When each event arrived first."""
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=30)
    connection.request("GET", "/seen")
    seen: dict[str, float] = json.loads(connection.getresponse().read())
    seen.pop("evt_0", None)
    connection.close()
    return seen


def _cpu(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    times = process.cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    show(measure())
