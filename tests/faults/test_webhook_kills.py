"""Random SIGKILLs of API, worker, store and PostgreSQL: every event is delivered, always with the same bytes.

LAPEL_WEBHOOK_KILLS says how many processes are killed (`make test-deep`: 500), and LAPEL_WEBHOOK_EVENTS how
many events there are (`make test-deep`: 10,000).
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import Counter, defaultdict
from pathlib import Path
from random import Random

import pytest

from lapel.foundation.ports import open_ports
from tests.faults.journal import Journal
from tests.faults.stubborn import Stubborn
from tests.faults.test_random_kills import SECRET, all_back, make_tenant_of, store_keys, torment
from tests.faults.tree import ServeTree
from tests.support.running import settings_for
from tests.support.tenants import Tenant
from tests.support.transport import loopback_client
from tests.webhooks.delivery.support import Received, World, receiving

KILLS = int(os.environ.get("LAPEL_WEBHOOK_KILLS", "8"))
EVENTS = int(os.environ.get("LAPEL_WEBHOOK_EVENTS", "200"))
SEED = os.environ.get("LAPEL_FAULT_SEED") or secrets.token_hex(4)
CLIENTS = 6
# Seconds between two events of a client, so that events come as long as processes are killed.
PAUSE = CLIENTS * 0.6 * KILLS / EVENTS
NETWORKS = {"LAPEL_OUTBOUND_NETWORKS": "127.0.0.0/8"}


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
        async with receiving() as receiver, loopback_client() as http:
            async with open_ports(settings) as ports:
                await World(ports, tenant.test_world).webhook(receiver.url, "recording.created")
            client = Stubborn(http, [run.base_url], journal)
            creating = asyncio.create_task(create(client, tenant))
            killed = await torment(tree, Random(SEED), KILLS, lambda: client.answers)
            made = await creating
            await all_back(run, tree)
            await all_delivered(receiver.received, made)
        assert tree.stop() == 0, tree.tail()
    finally:
        tree.end()
        journal.close()
    print(f"killed {dict(killed)}; {len(receiver.received)} deliveries of {len(made)} events")
    agree(receiver.received, made)


async def create(client: Stubborn, tenant: Tenant) -> set[str]:
    """Create recordings; gives the ids of those whose creation was answered."""
    body = {"external_id": "killed"}
    answer = await client.api("POST", "/end-users", tenant.test_key, body=body, key="one", allowed=(201,))
    end_user: str = answer.json()["id"]
    numbers = iter(range(EVENTS))
    made: set[str] = set()

    async def one_after_the_other() -> None:
        for number in numbers:
            answer = await client.api(
                "POST",
                "/recordings",
                tenant.test_key,
                body={"end_user_id": end_user},
                key=f"k{number}",
                allowed=(201,),
            )
            made.add(answer.json()["id"])
            await asyncio.sleep(PAUSE)

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(one_after_the_other())
    return made


async def all_delivered(received: list[Received], made: set[str]) -> None:
    """Wait until each recording's event has come."""
    async with asyncio.timeout(120):
        while not made <= {str(each.data()["id"]) for each in received}:  # noqa: ASYNC110 - a list grows
            await asyncio.sleep(0.2)


def agree(received: list[Received], made: set[str]) -> None:
    """One event for each recording, and one body for each event."""
    assert len(made) == EVENTS
    bodies: defaultdict[str, set[bytes]] = defaultdict(set)
    for request in received:
        bodies[request.event_id].add(request.body)
    assert [event for event, each in bodies.items() if len(each) > 1] == []
    events = Counter(str(request.data()["id"]) for request in {r.event_id: r for r in received}.values())
    assert events == Counter(made)
