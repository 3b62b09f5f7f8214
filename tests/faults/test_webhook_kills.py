"""Random SIGKILLs of API, worker, store and PostgreSQL: every event is delivered, always with the same bytes,
and the first attempts for a resource are made in the order of its events.

LAPEL_WEBHOOK_KILLS says how many processes are killed (`make test-deep`: 500; without it, none), and
LAPEL_WEBHOOK_EVENTS how many events there are (`make test-deep`: 10,000).
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import Counter, defaultdict
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lapel.foundation.ports import open_ports
from tests.faults.journal import Journal
from tests.faults.stubborn import Stubborn
from tests.faults.test_random_kills import SECRET, all_back, make_tenant_of, store_keys, torment
from tests.faults.tree import ServeTree
from tests.support.client import api_client
from tests.support.patience import patience
from tests.support.running import settings_for
from tests.support.tenants import Tenant
from tests.webhooks.delivery.support import Received, World, out_of_order, receiving

pytestmark = pytest.mark.deep

KILLS = int(os.environ.get("LAPEL_WEBHOOK_KILLS", "8"))
EVENTS = int(os.environ.get("LAPEL_WEBHOOK_EVENTS", "200"))
SEED = os.environ.get("LAPEL_FAULT_SEED") or secrets.token_hex(4)
CLIENTS = 6
# Seconds between two events of a client, so that events come as long as processes are killed.
PAUSE = CLIENTS * 0.6 * KILLS / EVENTS
# A failed attempt does not hold up later events.
FAILED = """
SELECT d.event_id FROM webhook_attempts a JOIN webhook_deliveries d USING (world_id)
WHERE d.id = a.delivery_id AND d.world_id = $1 AND a.status IS DISTINCT FROM 200
"""
NETWORKS = {"LAPEL_OUTBOUND_NETWORKS": "127.0.0.0/8"}


@pytest.mark.skipif(
    "LAPEL_WEBHOOK_KILLS" not in os.environ, reason="runs in `make test-deep`, or with LAPEL_WEBHOOK_KILLS=8"
)
@pytest.mark.timeout(300 + 2 * KILLS + EVENTS // 10)
async def test_every_event_is_delivered_whatever_dies(quick_folder: Path, tmp_path: Path) -> None:
    print(f"LAPEL_FAULT_SEED={SEED} LAPEL_WEBHOOK_KILLS={KILLS} LAPEL_WEBHOOK_EVENTS={EVENTS}")
    tree = ServeTree(
        quick_folder / "data",
        tmp_path / "serve.log",
        {"LAPEL_SECRET": SECRET, "LAPEL_LOG_FORMAT": "json", **NETWORKS},
    )
    journal = Journal(tmp_path / "journal.jsonl")
    try:
        run = await tree.start()
        settings = settings_for(tree.data_dir, run.database_url, run.port, **store_keys(), **NETWORKS)
        tenant = await make_tenant_of(settings)
        async with receiving() as receiver, api_client() as http:
            async with open_ports(settings) as ports:
                await World(ports, tenant.test_world).webhook(
                    receiver.url, "recording.created", "device.bound", "device.unbound"
                )
            client = Stubborn(http, [run.base_url], journal)
            creating = asyncio.create_task(create(client, tenant))
            killed = await torment(tree, Random(SEED), KILLS, lambda: client.answers)
            made = await creating
            await all_back(run, tree)
            await all_delivered(receiver.received, made)
            async with open_ports(settings) as ports:
                rows = await World(ports, tenant.test_world).fetch(FAILED, tenant.test_world)
        assert tree.stop() == 0, tree.tail()
    finally:
        tree.end()
        journal.close()
    print(f"killed {dict(killed)}; {len(receiver.received)} deliveries of {EVENTS} events")
    agree(receiver.received, made, {row["event_id"] for row in rows})


async def create(client: Stubborn, tenant: Tenant) -> Counter[str]:
    """Create recordings, and bind and unbind devices; gives the number of events of each resource."""

    async def post(path: str, key: str, *allowed: int, **body: str) -> dict[str, Any]:
        answer = await client.api("POST", path, tenant.test_key, body=body, key=key, allowed=allowed)
        return answer.json()

    person: str = (await post("/end-users", "one", 201, external_id="killed"))["id"]
    numbers = iter(range(EVENTS))
    made: Counter[str] = Counter()

    async def one_after_the_other(serial: str) -> None:
        device: str = (await post("/devices", serial, 201, serial_number=serial))["id"]
        for number in numbers:
            if number % 2:
                recording: str = (await post("/recordings", f"k{number}", 201, end_user_id=person))["id"]
                made[recording] += 1
            elif made[device] % 2:
                # 409: an earlier try has unbound it, and its answer was lost.
                await post(f"/devices/{device}/unbind", f"k{number}", 200, 409)
                made[device] += 1
            else:
                await post(f"/devices/{device}/bind", f"k{number}", 200, end_user_id=person)
                made[device] += 1
            await asyncio.sleep(PAUSE)

    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(one_after_the_other(f"KILLED{number:02}"))
    return made


async def all_delivered(received: list[Received], made: Counter[str]) -> None:
    """Wait until each event has come."""
    async with patience(120):
        while not made <= resources_of(received):  # noqa: ASYNC110 - a list grows
            await asyncio.sleep(0.2)


def resources_of(received: list[Received]) -> Counter[str]:
    """How many events of each resource have come."""
    return Counter(str(request.data()["id"]) for request in {r.event_id: r for r in received}.values())


def agree(received: list[Received], made: Counter[str], failed: set[str]) -> None:
    """Each event came, with one body, and in the order of its resource unless an attempt failed."""
    assert made.total() == EVENTS
    bodies: defaultdict[str, set[bytes]] = defaultdict(set)
    for request in received:
        bodies[request.event_id].add(request.body)
    assert [event for event, each in bodies.items() if len(each) > 1] == []
    assert resources_of(received) == made
    counted = {r.event_id: str(r.data()["id"]) for r in received if r.event_id not in failed}
    assert out_of_order(received, counted) == []
