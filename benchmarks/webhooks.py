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
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import asyncpg

from benchmarks.report import Row, show
from benchmarks.rig import Api, Rig, Server, rig
from lapel.foundation.core.clock import SystemClock
from lapel.foundation.core.ids import TimeOrderedIds
from lapel.foundation.database import outbox
from lapel.foundation.database.outbox import OF_WAITING
from lapel.foundation.identity.seal import sealer
from lapel.slices.webhooks.signing_secrets import new_secret, sealed
from lapel.slices.webhooks.waiting_queries import OF_PENDING
from tests.support.ports import free_ports

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
_LEFT = f"""
SELECT EXISTS (SELECT FROM events e WHERE ({OF_WAITING}) IS NOT NULL)
    OR EXISTS (SELECT FROM webhook_deliveries d WHERE ({OF_PENDING}) IS NOT NULL)
"""


def measure() -> list[Row]:
    """Rates of worker and bare loop in turn, then the lag at a steady rate, alone and beside others."""
    with rig() as made:
        api = made.lapel(made.database("hooks", 100))
        return asyncio.run(_Bench(made, api).rows())


@dataclass(frozen=True, slots=True)
class _Cost:
    """Deliveries (or posts) a second, and microseconds of CPU time for each."""

    rate: float
    sender_us: float
    postgres_us: float = 0.0
    receiver_us: float = 0.0


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
        await self._burst(connection, receiver, types, 2000, worker)  # warm
        ours, bare = list[_Cost](), list[_Cost]()
        for _ in range(3):
            bare.append(await asyncio.to_thread(_bare, receiver))
            ours.append(await self._burst(connection, receiver, types, BURST, worker))
        worker.terminate()
        await connection.execute(_FORGET, self.api.filled.world_id)
        return _compared(_median(ours), _median(bare))

    async def _burst(
        self,
        connection: Connection,
        receiver: Server,
        types: Sequence[str],
        count: int,
        worker: psutil.Process,
    ) -> _Cost:
        """The rate from the first arrival to the last outcome, and CPU times from the commit on."""
        before = _count(receiver)
        ids = await self._publish(connection, types, count)
        began = (_cpu(worker), self.rig.postgres_cpu_seconds, receiver.cpu_seconds)
        while _count(receiver) < before + count:  # noqa: ASYNC110 - another process ends it
            await asyncio.sleep(0.05)
        while await connection.fetchval(_LEFT):  # noqa: ASYNC110 - another process ends it
            await asyncio.sleep(0.01)
        ended = time.time()
        cpu = (_cpu(worker), self.rig.postgres_cpu_seconds, receiver.cpu_seconds)
        seen = _seen(receiver)
        return _Cost(
            count / (ended - min(seen[each] for each in ids)),
            *((now - then) / count * 1e6 for then, now in zip(began, cpu, strict=True)),
        )

    async def _lags(self, connection: Connection) -> list[Row]:
        """From commit to arrival at a steady rate: alone, then beside a dead and a slow webhook."""
        receiver, slow = self.rig.receiver(), self.rig.receiver(29.0)
        types = await self._webhooks(connection, [receiver] * WEBHOOKS)
        self.rig.worker(self.api, **_LOOPBACK)
        alone = await self._paced(connection, receiver, types)
        dead = Server("nobody", free_ports(1)[0], receiver.process)
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


def _compared(ours: _Cost, bare: _Cost) -> list[Row]:
    how = f"3 rounds in turn, {BURST:,} events of 1 KB for {WEBHOOKS} webhooks"
    return [
        Row("webhooks: bare loop that signs and posts", bare.rate, "/s"),
        Row("webhooks: deliveries of one worker", ours.rate, "/s", at_least=1500, detail=how),
        Row("webhooks: rate, of the bare loop", ours.rate / bare.rate, at_least=0.6),
        Row("webhooks: CPU of the bare loop, a post", bare.sender_us, "us"),
        Row("webhooks: CPU of the worker, a delivery", ours.sender_us, "us"),
        Row("webhooks: CPU of PostgreSQL, a delivery", ours.postgres_us, "us"),
        Row("webhooks: CPU of the receiver, a delivery", ours.receiver_us, "us"),
        Row("webhooks: CPU of the bare loop, of the worker's", bare.sender_us / ours.sender_us),
    ]


def _median(costs: Sequence[_Cost]) -> _Cost:
    return _Cost(*(statistics.median(each) for each in zip(*map(astuple, costs), strict=True)))


def _bare(receiver: Server) -> _Cost:
    command = [sys.executable, "-m", "benchmarks.peers.bare_webhooks", f"http://127.0.0.1:{receiver.port}/"]
    done = subprocess.run([*command, str(BARE_SECONDS), "100"], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    return _Cost(told["rate"], told["cpu_us"])


def _count(receiver: Server) -> int:
    """How many events arrived, without those of the bare loop."""
    return json.loads(_told_by(receiver, "/count"))


def _seen(receiver: Server) -> dict[str, float]:
    """When each event arrived first."""
    return json.loads(_told_by(receiver, "/seen"))


def _told_by(receiver: Server, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=30)
    connection.request("GET", path)
    told = connection.getresponse().read()
    connection.close()
    return told


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    show(measure())
